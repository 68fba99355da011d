"""What changes several rows, or reaches outside: one named operation a module. Pages and API call the same ones.

Locks are taken in the order person, story, generation. Narrators lock generations only, so nobody waits in a circle.
"""
