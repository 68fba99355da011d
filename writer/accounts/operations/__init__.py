"""What changes several rows of people, or reaches outside: one named operation a module."""
