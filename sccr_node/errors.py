"""What can go wrong in the step: one exception class for each exit code of the contract."""


class SccrError(Exception):
    """A failure that the user can act on: its text is one line that says what is wrong, where, and what to do."""

    exit_code = 70


class UsageProblem(SccrError):
    """Bad usage: parameters out of range, contradictory options, a bad config file, output equal to input."""

    exit_code = 2


class InputProblem(SccrError):
    """Bad input data: unreadable as what it claims to be, missing layer or column, existing key, impossible values."""

    exit_code = 65


class InputMissing(SccrError):
    """The input (or the config, or a gene file that the config names) is missing or may not be read."""

    exit_code = 66


class OutputProblem(SccrError):
    """The output exists already, or its folder is missing, read-only or not permitted."""

    exit_code = 73


class NotEnoughResources(SccrError):
    """Not enough memory or disk now: a scheduler may try again with more."""

    exit_code = 75
