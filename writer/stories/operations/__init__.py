"""Operations that change several rows or have external effects, one in each module. Pages and API call the same ones.

Locks are taken in the order person, story, generation. Narrators lock only generations, so there are no deadlocks.
"""
