"""What changes several rows of the editors' room: one named operation a module."""
