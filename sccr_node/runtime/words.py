"""Words in messages: singular and plural, near matches, and no more of them than can be read."""

import re
import unicodedata
from collections.abc import Iterable

LONGEST_WORD, LONGEST_MESSAGE = 300, 2000
"""Characters; the longest paths that people have are shorter."""


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


def time_left(seconds: float) -> str:
    """Say how long a stage will still take, as exactly as deserved, such as ``about 1 h 20 min left in this stage``."""
    left = "a few seconds" if seconds < 7.5 else f"about {_rough_time(seconds)}"
    return f"{left} left in this stage"


def _rough_time(seconds: float) -> str:
    if seconds < 57.5:
        return f"{5 * round(seconds / 5)} s"
    minutes = max(1, round(seconds / 60))
    if minutes >= 60:
        minutes = 5 * round(minutes / 5)
    hours, minutes = divmod(minutes, 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes or not hours else [])])


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of a message that names the closest of some names; empty if none is close."""
    import difflib

    plain = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.casefold(), plain, n=1)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""


def in_one_line(text: str) -> str:
    """Return a text whose control characters are spelt out: names of files may contain them, and forge lines."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda character: repr(character[0])[1:-1], text)


def shortened(message: str) -> str:
    """Return a message that repeats what the user gave, without the middle of what is too long to be read."""
    message = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: _without_middle(word[0], LONGEST_WORD), message)
    return message if len(message) <= LONGEST_MESSAGE else _without_middle(message, LONGEST_MESSAGE)


def _without_middle(text: str, most: int) -> str:
    end = most // 4
    return f"{text[: most - end - 3]}...{text[-end:]}"


def in_ascii(text: str) -> str:
    """Return a text in the letters of ASCII, spelt as it sounds if it is in another script."""
    if text.isascii():
        return text
    from anyascii import anyascii

    return anyascii(unicodedata.normalize("NFC", text))
