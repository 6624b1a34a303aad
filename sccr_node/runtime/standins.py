"""What is shown of local stand-ins for remote files: the address that the user gave, and never a secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

_addresses: dict[str, str] = {}
"""Folders of stand-ins, and what they stand for. Kept to the end: a failure is reported when its scratch is gone."""

_identities: dict[str, str | None] = {}
"""What the remote files were that were fetched, by their stand-ins."""

_open: dict[str, RawIOBase] = {}
"""Stand-ins of remote files that are not fetched, but read through an object that fetches what is read."""

_USER_INFORMATION = re.compile(r"(https?://)[^\s/@'\"]*@")
_SIGNED = re.compile(r"((?:https?|az)://[^\s?#'\"]*)[?#][^\s'\"]*")


def stand_for(folder: Path, address: str) -> None:
    """Show an address instead of a folder from now on, also in the names of what is inside."""
    _addresses[str(folder)] = address


def is_stand_in(path: Path) -> bool:
    """Return whether a file stands for a remote one."""
    return any(path.is_relative_to(folder) for folder in _addresses)


def identify(path: Path, identity: str | None) -> None:
    """Note what a stand-in was fetched from: size and tag of the remote file, if it has one."""
    _identities[str(path)] = identity


def identity_of(path: Path) -> str | None:
    """Return what a stand-in was fetched from; None for a file of this machine, or one without a tag."""
    return _identities.get(str(path))


@contextmanager
def standing_open(path: Path, file: RawIOBase) -> Iterator[None]:
    """Have a stand-in read through an object for the time of the block."""
    _open[str(path)] = file
    try:
        yield
    finally:
        del _open[str(path)]


def read_through(path: Path) -> RawIOBase | Path:
    """Return what a file is opened by: its path, unless it is a stand-in that is read through an object."""
    return _open.get(str(path), path)


def as_shown(text: object) -> str:
    """Return a text as a user may see it: addresses instead of their stand-ins, without credentials and queries.

    The query of a URL can be a signature, which is as good as a password.
    """
    shown = str(text)
    for folder, address in _addresses.items():
        shown = shown.replace(folder, address)
    if "://" not in shown:
        return shown
    return _SIGNED.sub(r"\1", _USER_INFORMATION.sub(r"\1", shown))
