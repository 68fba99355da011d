"""What changes several rows of the studio, or reaches outside: one named operation a module."""
