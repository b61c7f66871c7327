"""The base error: one class, because callers branch on almost nothing else."""


class FairleadError(Exception):
    """Something a person can act on. The text reads "cannot X: cause" and goes to the terminal as it is.

    `exit_code` is what the command ends with (1: refused or failed, 2: bad input, 3: the app never became ready).
    """

    exit_code = 1


class InputError(FairleadError):
    """What the person gave (a flag, a key, a file) cannot be used."""

    exit_code = 2
