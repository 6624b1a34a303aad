"""Prints every difference between two recordings: python tests/baseline/compare.py OLD.json NEW.json."""

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> int:
    """Compare two documents; 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--code", action="store_true", help="print only how many there are")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="PREFIX", help="leave out what begins so; may be repeated"
    )
    arguments = parser.parse_args()
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (arguments.old, arguments.new))
    found = [
        (key, text) for key, text in differences("", old, new) if not key.startswith(tuple(arguments.ignore or ["\0"]))
    ]
    if not arguments.code:
        for key, text in found:
            print(f"{key}\n{text}\n")
    print(f"{len(found)} difference{'s' if len(found) != 1 else ''}")
    return 1 if found else 0


def differences(key: str, old: Any, new: Any) -> Iterator[tuple[str, str]]:
    """Yield where two values differ, and how.

    Parameters
    ----------
    key
        Where they stand, its parts joined by " > ".
    old, new
        Anything that JSON holds.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            below = f"{key} > {name}" if key else name
            if name not in new:
                yield below, "    gone; it was: " + brief(old[name])
            elif name not in old:
                yield below, "    new: " + brief(new[name])
            else:
                yield from differences(below, old[name], new[name])
    elif old != new or type(old) is not type(new):
        if are_lines(old) and are_lines(new):
            diff = difflib.unified_diff(old, new, "old", "new", n=2, lineterm="")
            yield key, "\n".join(f"    {line}" for line in diff)
        else:
            yield key, f"    old: {old!r}\n    new: {new!r}"


def are_lines(value: Any) -> bool:
    """Return whether a value is a text, kept as lines."""
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def brief(value: Any) -> str:
    """Return the beginning of a value."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}..."


if __name__ == "__main__":
    sys.exit(main())
