"""One module for each kind of source, and the choice between them."""
