"""What the site's model server takes, which settings and plans must say."""

SERVED_RANK = 64
"""The highest rank of adapters that it loads; a model with a higher one is served whole."""
