"""What each kind of object store does: the interface of its client, and what can go wrong."""

from __future__ import annotations

import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sccr_node.errors import UsageProblem

CONNECT_SECONDS = 10
ANSWER_SECONDS_OF_A_STORE = 60
"""How long a store may be silent: then the connection counts as broken off."""

BLOCK_READ = 2**20
"""Bytes read at a time: between two blocks, signals are looked for."""


class Trouble(Exception):
    """A failure of an object store; the message is the provider's reason."""


class Absent(Trouble):
    """There is no such object, or no such bucket."""


class Refused(Trouble):
    """It was refused, and would be again."""


class Taken(Trouble):
    """Something with that name exists already."""


class Passing(Trouble):
    """It could not be reached, broke off, or is overloaded: another attempt may succeed."""


class Lost(Trouble):
    """The store no longer knows what was sent of an object: all of it has to be sent again."""


class Whole(Refused):
    """Parts of it cannot be read: only the whole."""


class Changed(Passing):
    """The object is not the one that reading began with."""


@contextmanager
def taken() -> Iterator[None]:
    """Call a condition that failed what it is where nothing was to be replaced: there is something now."""
    try:
        yield
    except Changed as failure:
        raise Taken(str(failure)) from failure


def cause_of(failure: BaseException) -> str:
    """Return why a connection failed.

    The text of the libraries' errors is never shown: it has the address of the request, with what signs it, or with the
    number of an upload that whoever knows it can go on with.
    """
    chain = list(_behind(failure))
    for each in chain:
        if isinstance(each, OSError) and isinstance(each.errno, int) and isinstance(each.strerror, str):
            return each.strerror.lower()
    for each in chain:  # these have no number, and nothing of the address in their text
        said = str(each.args[0]) if each.args else ""
        if refused := re.match(r"Tunnel connection failed: (\d{3})", said):
            return f"the proxy refused it ({refused[1]})"
        if "TLS CA certificate" in said:
            return "the certificates that are set for it cannot be found"
    if any(isinstance(each, TimeoutError) or "Timeout" in type(each).__name__ for each in chain):
        return "it did not answer in time"
    return "the connection ended early"


def _behind(failure: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it was made from, however a library keeps them."""
    waiting, seen = [failure], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        named = (getattr(each, name, None) for name in ("reason", "inner_exception"))  # by urllib3, and by Azure
        kept = (each.__cause__, each.__context__, *named, *each.args)
        waiting += [other for other in kept if isinstance(other, BaseException)]


def byte_range(start: int, end: int | None) -> str:
    """Return an HTTP Range for the bytes from one position up to another one, or to the end."""
    return f"bytes={start}-{'' if end is None else end - 1}"


def trouble_of(status: int, reason: str) -> Trouble:
    """Return what an HTTP status means."""
    if status in (404, 410):
        return Absent(reason)
    if status == 412:
        return Changed(reason)
    # 409: two conditional writes met; the provider asks to try again.
    if status in (408, 409, 425, 429) or status >= 500:
        return Passing(reason)
    return Refused(reason)


@dataclass(frozen=True)
class Facts:
    """What a store says about an object: its size, a tag that changes with its content, and its MD5 if known.

    The tag is empty if a web server has none: then nobody can tell two versions of a file apart.
    """

    size: int
    tag: str
    md5: bytes | None = None


class Sending(ABC):
    """An object on its way: parts are sent, and it appears when it is finished, whole or not at all.

    Attributes
    ----------
    token
        Kept with the object, to recognise it if the answer to the last request is lost.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)

    @abstractmethod
    def send(self, number: int, part: bytes, *, last: bool) -> None:
        """Send a part, counted from 0; sending it again replaces it. Raises Lost if that is of no use any more."""

    @abstractmethod
    def finish(self) -> None:
        """Make the object appear.

        Raises
        ------
        Taken
            It was not to replace anything, and there is something now.
        Lost
            Parts are missing.
        """

    @abstractmethod
    def arrived(self) -> bool:
        """Return whether the object that is there now is this one."""

    @abstractmethod
    def abandon(self) -> None:
        """Remove what was sent; what cannot be removed now is left to the next attempt."""


class Bucket(ABC):
    """The client of one bucket, container or host."""

    @abstractmethod
    def facts(self, key: str) -> Facts:
        """Return the facts of an object."""

    @abstractmethod
    def read(
        self, key: str, facts: Facts, start: int, end: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Read an object from a byte on (up to another one), in blocks; raises Changed if its facts are others."""

    @abstractmethod
    def listing(self, prefix: str) -> Iterator[tuple[str, Facts]]:
        """Yield the keys that begin with a prefix, with their facts."""

    @abstractmethod
    def begin(self, key: str, *, replace: bool) -> Sending:
        """Begin to write an object."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object, if it exists."""

    @abstractmethod
    def abort(self, prefix: str) -> None:
        """End the open uploads to all keys that begin with a prefix."""

    @abstractmethod
    def prepare(self, key: str) -> None:
        """Remove what killed attempts to write an object left, and raise if it could not be written."""


def client_library(name: str, scheme: str, extra: str) -> Any:
    """Import a provider's library.

    Raises
    ------
    UsageProblem
        It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as failure:
        raise UsageProblem(
            f"{scheme}:// addresses require {name.partition('.')[0]}, which is not installed: run pip install "
            f"'sccr-node[{extra}]'"
        ) from failure
