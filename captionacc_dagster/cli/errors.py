"""The error that a command reports for one file."""


class ProcessError(Exception):
    """A file could not be processed; the message is one line that names it and the reason."""
