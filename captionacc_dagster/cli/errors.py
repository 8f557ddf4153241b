"""What a command refuses."""


class ProcessError(Exception):
    """One file that could not be processed; the message is one line that names it and says why."""
