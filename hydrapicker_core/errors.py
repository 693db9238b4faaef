"""The errors of HydraPicker that a user can cause.

Every error a user can cause inherits :class:`HydraPickerError` and a builtin, carries one line that names what
was given, what is wrong with it and what to do, and is shown by the command line without a traceback.
"""


class HydraPickerError(Exception):
    """Anything a user can cause and mend."""


class InvalidInputError(HydraPickerError, ValueError):
    """A value, file or image that cannot be used as given."""
