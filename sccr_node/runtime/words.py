"""Words in messages: singular and plural, and near matches."""

from collections.abc import Iterable


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


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of a message that names the closest of some names; empty if none is close."""
    import difflib

    plain = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.casefold(), plain, n=1)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""
