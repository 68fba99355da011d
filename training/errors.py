"""The one error that the command line shows without a traceback."""


class MendableError(Exception):
    """Something that a person can mend; the message says what it is and what to do, in one line."""
