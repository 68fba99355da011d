"""No operation on pictures."""
