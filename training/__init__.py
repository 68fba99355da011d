"""The learning library of Longhand. Knows nothing of Django, Redis or the web."""
