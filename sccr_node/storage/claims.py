"""Where what is written meets what is read, or what else is written: one rule for commands and whole manifests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from sccr_node.storage.places.address import Address, is_remote


@dataclass(frozen=True)
class Claim:
    """A file or folder that somebody reads, or writes with all its contents.

    Parameters
    ----------
    path
        The path.
    by
        Who, or as what: words for messages.
    part_of
        Claims that are parts of one thing do not disturb each other. None: a thing of its own.
    """

    path: Path
    by: str
    part_of: object = None

    def belongs_to(self, other: Claim) -> bool:
        """Return whether both are parts of one thing."""
        return self.part_of is not None and self.part_of == other.part_of


class Meeting(Enum):
    """How a path lies to another one."""

    IS = "it is"
    IS_INSIDE = "it is inside"
    CONTAINS = "it contains"


def collisions(read: Sequence[Claim], written: Sequence[Claim]) -> Iterator[tuple[Claim, Meeting, Claim]]:
    """Yield what must not be written, because of what: an input, something inside or around one, or another output.

    Links of any kind are followed. Takes time in proportion to the number of claims, as a manifest can have many rows.
    """
    places = _Places()
    inputs: dict[object, Claim] = {}
    outputs: dict[object, Claim] = {}
    for claim in read:
        inputs.setdefault(places.of(claim.path), claim)
    for claim in written:
        own = places.of(claim.path)
        if own in inputs:
            yield claim, Meeting.IS, inputs[own]
        elif own in outputs and not claim.belongs_to(outputs[own]):
            yield claim, Meeting.IS, outputs[own]
        outputs.setdefault(own, claim)
    for claim in written:
        yield from ((claim, Meeting.IS_INSIDE, other) for other in _around(claim, places, inputs, outputs))
    for claim in read:
        yield from ((other, Meeting.CONTAINS, claim) for other in _around(claim, places, outputs))


def within(claims: Sequence[Claim], taken: Iterable[Claim]) -> Iterator[tuple[Claim, Meeting, Claim]]:
    """Yield which claims are, or are inside, something that is taken, and by whom; the innermost for each."""
    places = _Places()
    others: dict[object, Claim] = {}
    for claim in taken:
        others.setdefault(places.of(claim.path), claim)
    for claim in claims:
        if (own := places.of(claim.path)) in others:
            yield claim, Meeting.IS, others[own]
        elif (found := next(_around(claim, places, others), None)) is not None:
            yield claim, Meeting.IS_INSIDE, found


def as_path(place: str | Path | Address) -> Path:
    """Return a path that differs from all paths of this machine for what is remote, and others as they are."""
    if isinstance(place, str):
        place = Address.of(place) if is_remote(place) else Path(place)
    return place if isinstance(place, Path) else Path(f"/{place.scheme}:", place.bucket, place.key)


_AS_PATH = re.compile(r"(?<![\w/])/(s3|gs|az|https?):/")


def with_addresses(text: str) -> str:
    """Return a message with the addresses that such paths stand for."""
    return _AS_PATH.sub(r"\1://", text)


class _Places:
    """What tells files and folders apart, however their paths are written; each is looked at once."""

    def __init__(self) -> None:
        self._of_text = cache(_place_of)

    def of(self, path: Path) -> object:
        return self._of_text(str(path))

    def around(self, path: Path) -> Iterator[object]:
        """Yield the folders that a path, which need not exist, is in, from the innermost."""
        real = Path(os.path.realpath(path))
        # The entry itself counts too, not only what it points to: replacing a folder also removes the links in it.
        entry = Path(os.path.realpath(path.parent)) / path.name
        for folder in dict.fromkeys([*real.parents, *entry.parents]):
            yield self.of(folder)


def _place_of(path: str) -> object:
    real = os.path.realpath(path)  # also a way through folders that do not exist, which cannot be looked at
    try:
        found = os.stat(real)
    except OSError:
        return real
    return found.st_dev, found.st_ino


def _around(claim: Claim, places: _Places, *taken: dict[object, Claim]) -> Iterator[Claim]:
    """Yield the claims of others whose folders a path is in."""
    found: dict[Claim, None] = {}
    for folder in places.around(claim.path):
        other = next((each[folder] for each in taken if folder in each), None)
        if other is not None and other is not claim and other not in found and not claim.belongs_to(other):
            found[other] = None
            yield other
