"""What this plugin raises on purpose."""


class AnonymizeError(Exception):
    """A data set that cannot be de-identified, or settings that cannot be used. The message says why.

    It never holds a value from a data set.
    """
