"""Singular and plural in messages."""


def plural(n: int, singular: str, other: str | None = None) -> str:
    """Return the form of a word that agrees with a number.

    Parameters
    ----------
    n
        The number.
    singular
        The form for 1.
    other
        The form for any other number (default: ``singular`` with an s).
    """
    return singular if n == 1 else other or f"{singular}s"


def quantity(n: int, singular: str, other: str | None = None) -> str:
    """Return a number and the word that it counts, such as ``1 cell`` or ``2,000 cells``."""
    return f"{n:,} {plural(n, singular, other)}"
