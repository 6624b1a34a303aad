"""A remote file or folder: fetched whole, and published whole or not at all, however often the network fails."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar, copy_context
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, TypeVar

from sccr_node.errors import InputMissing, NotEnoughResources, OutputProblem, SccrError
from sccr_node.runtime import signals
from sccr_node.runtime.scratch import check_scratch, in_scratch
from sccr_node.runtime.standins import standing_open
from sccr_node.storage.places.address import WEB, Address
from sccr_node.storage.places.bucket import (
    Absent,
    Bucket,
    Changed,
    Facts,
    Lost,
    Passing,
    Refused,
    Sending,
    Taken,
    Trouble,
    Whole,
)
from sccr_node.storage.places.window import Window
from sccr_node.storage.targets import MARKERS, METADATA, ZARR_NODES

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further attempt: a store that restarts is back by then."""

PART_BYTES = 16 * 2**20
"""Size of the parts of an upload; a part is in memory while it is sent."""

MOST_PARTS = 10_000
"""That S3 allows in an upload."""

OBJECTS_AT_A_TIME = 8
"""Of a folder."""

LARGE_OBJECT = 4 * 2**20
LARGE_AT_A_TIME = 2
"""Objects of more bytes than this: each thread keeps the memory of the parts that it has sent."""

LARGEST_OUTLINE = 2**20
"""Bytes of a small file that is fetched to find out what a folder is."""

CLAIM = ".sccr-upload"
"""In a remote folder while it is being written: unless it is a store or one of parts, a dead attempt left all of it."""

_NODES = (*sorted(ZARR_NODES), *MARKERS)
"""What makes a folder a store, or one of parts: sent last of all, and removed first."""

_ROOT = (*sorted(METADATA - ZARR_NODES), *_NODES)
"""The metadata of a folder, in the order in which they are sent."""

_READ = {"zarr.json", *MARKERS}
"""What of a folder is read to find out whether it may be replaced; of all else, the name says enough."""

_CLIENTS = {
    "s3": ("s3", "S3Bucket"),
    "gs": ("gcs", "GoogleBucket"),
    "az": ("azure", "AzureContainer"),
    "https": ("http", "WebHost"),
    "http": ("http", "WebHost"),
}

Shown = Callable[[float], None]
"""Called with the fraction done."""

T = TypeVar("T")


_KEPT: ContextVar[dict[tuple[str, str], Bucket] | None] = ContextVar("_KEPT", default=None)


@contextmanager
def clients_kept() -> Iterator[None]:
    """Make no second client for a bucket or host within the block: each looks for credentials and connects anew."""
    if _KEPT.get() is not None:
        yield
        return
    outside = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(outside)


def bucket_of(address: Address) -> Bucket:
    """Return the client of the bucket or host of an address.

    Raises
    ------
    UsageProblem
        The library for it is not installed.
    Trouble
        There are no credentials, or they are none.
    """
    kept = _KEPT.get()
    named = address.scheme, address.bucket
    if kept is not None and named in kept:
        return kept[named]
    module, name = _CLIENTS[address.scheme]
    client = getattr(import_module(f"{__package__}.{module}"), name)
    made = client(f"{address.scheme}://{address.bucket}" if address.scheme in WEB else address.bucket)
    assert isinstance(made, Bucket)
    if kept is not None:
        kept[named] = made
    return made


class Place:
    """A remote file, or a remote folder: the objects whose keys begin with its key and a slash.

    Parameters
    ----------
    address
        Its address.
    bucket
        The client of what it is in; by default it is made when it is needed first: whether trouble with credentials
        is one of reading or of writing is known only then.
    """

    def __init__(self, address: Address, bucket: Bucket | None = None) -> None:
        self.address, self._client = address, bucket
        self._key = f"{address.key}?{address.query}" if address.query else address.key
        self._inside = f"{address.key}/"

    @property
    def _bucket(self) -> Bucket:
        if self._client is None:
            self._client = bucket_of(self.address)
        return self._client

    def identity(self) -> str | None:
        """Return what changes whenever the content does: size and tag, and the query if it is no signature.

        Nothing is downloaded. None if there is no such thing: some web servers name none.

        Raises
        ------
        InputMissing, NotEnoughResources
            There is nothing, reading it was refused, or its store cannot be reached.
        """
        with _while("read", self.address):
            found = self._contents()
        if isinstance(found, Facts):
            if not found.tag:
                return None
            tag = found.tag
        else:
            lines = "".join(f"{name} {facts.size} {facts.tag}\n" for name, facts in sorted(found.items()))
            tag = hashlib.sha256(lines.encode()).hexdigest()
        query = self.address.digest_of_query(lasting=True)
        return f"{_size_of(found)} bytes, {tag}{f', query {query}' if query else ''}"

    def exists(self) -> bool:
        """Return whether there is a file or folder that may be looked at.

        Raises
        ------
        NotEnoughResources
            The store cannot be reached.
        """
        with _while("read", self.address):
            try:
                return _retried(self._contents_if_any) is not None
            except (Absent, Refused):  # of a bucket, too
                return False

    def size(self) -> int:
        """Return the bytes of the file, or of all files in the folder; raises as :meth:`identity`."""
        with _while("read", self.address):
            return _size_of(self._contents())

    def fetch(self, to: Path, progress: Shown = lambda fraction: None) -> None:
        """Fetch the file or folder, whole: interrupted transfers are resumed, and a change is noticed.

        Raises
        ------
        InputMissing
            There is nothing, or reading it was refused.
        NotEnoughResources
            The disk is too small, or all attempts failed.
        """
        with _while("read", self.address):
            found = self._contents()
            check_scratch(_size_of(found))
            if isinstance(found, Facts):
                self._fetch_object(self._key, found, to, progress)
                return
            self._fetch_objects(found, to, progress)
            if self._contents() != found:
                raise Changed("it changed while it was read")

    @contextmanager
    def opened(self, to: Path) -> Iterator[None]:
        """Lay the place out on this machine, where it can be opened for the time of the block, without its values.

        Those blocks of a file are fetched that are read through :func:`~sccr_node.runtime.standins.read_through`; of a
        zarr store, what tells names, tables and shapes. All else is fetched whole.

        Raises
        ------
        InputMissing, NotEnoughResources
            As :meth:`fetch`; also while the block reads.
        """
        with _while("read", self.address):
            found = self._contents()
            opening: AbstractContextManager[None] = nullcontext()
            if isinstance(found, Facts):
                whole = not self._has_parts(found)
                opening = opening if whole else self._through_window(found, to)
            else:
                whole = ZARR_NODES.isdisjoint(found)  # a 10x folder
                told = {name: facts for name, facts in found.items() if not whole and _tells_shape(name)}
                self._fetch_objects(told, to, _unseen)
        if whole:
            self.fetch(to)
        with opening:
            yield

    @contextmanager
    def _through_window(self, facts: Facts, to: Path) -> Iterator[None]:
        window = Window(partial(self._part, facts), facts.size, to)
        with window, standing_open(to, window):
            try:
                window.read(1)  # the kind of a file is read from what was kept
                yield
            except Exception:
                if window.failure is None:
                    raise
                raise window.failure from None

    def _has_parts(self, facts: Facts) -> bool:
        """Return whether some bytes of the object can be read without those before them."""
        if not facts.size or not facts.tag:  # without a tag, they could be parts of two versions
            return False
        try:
            self._receive_part(facts, facts.size - 1, facts.size)
        except Whole:
            return False
        return True

    def _part(self, facts: Facts, start: int, end: int) -> bytes:
        with _while("read", self.address):
            return self._receive_part(facts, start, end)

    def _receive_part(self, facts: Facts, start: int, end: int) -> bytes:
        """Return some bytes of the object with these facts."""

        def part() -> bytes:
            content = bytearray()
            with self._bucket.read(self._key, facts, start, end) as blocks:
                for block in blocks:
                    signals.check()
                    content += block
                    if len(content) >= end - start:
                        break
            if len(content) < end - start:
                raise Passing("the connection ended early")
            return bytes(content[: end - start])

        return _retried(part)

    def outline(self, to: Path) -> None:
        """Make what the place looks like from outside: empty files for objects, but for those that say what it is.

        What may be replaced can then be decided as for a file or folder of this machine.
        """
        with _while("write", self.address):
            found = None
            with suppress(Refused):  # who may write need not be allowed to look
                found = _retried(self._contents_if_any)
            if found is None:
                return
            if isinstance(found, Facts):
                with in_scratch():
                    to.touch()
                return
            small = [name for name, facts in found.items() if facts.size <= LARGEST_OUTLINE]
            read = {name for name in small if name.rpartition("/")[2] in _READ}
            with in_scratch():
                for name in found.keys() - read:
                    (to / name).parent.mkdir(parents=True, exist_ok=True)
                    (to / name).touch()
            self._fetch_objects({name: found[name] for name in read}, to, _unseen)

    def prepare(self, *, folder: bool) -> None:
        """Remove what killed attempts left here, and refuse a place that could not be written to.

        Raises
        ------
        OutputProblem, NotEnoughResources
            Writing is refused; the store cannot be reached.
        """
        with _while("write", self.address):
            _retried(self._remove_leftovers)
            _retried(lambda: self._bucket.prepare(self._inside + CLAIM if folder else self._key))

    @contextmanager
    def upload(
        self, source: Path, *, force: bool, progress: Shown = lambda fraction: None
    ) -> Iterator[FileUpload | FolderUpload]:
        """Send a file or folder, which appears at ``commit``; without, nothing of it remains.

        Raises
        ------
        OutputProblem, NotEnoughResources
            Writing is refused; the store cannot be reached.
        """
        kind = FolderUpload if source.is_dir() else FileUpload
        with _while("write", self.address):
            made = kind(self.address, self._bucket, self._key, source, force)
        try:
            with _while("write", self.address):
                made.send(progress)
            yield made
        finally:
            made.close()

    def publish(self, source: Path, *, force: bool, progress: Shown = lambda fraction: None) -> None:
        """Upload a file or folder, whole or not at all."""
        with self.upload(source, force=force, progress=progress) as sent, signals.uninterrupted():
            sent.commit()

    def inside(self, name: str) -> Place:
        """Return the place of an object in this folder."""
        return Place(replace(self.address, key=self._inside + name), self._client)

    def names(self, prefix: str) -> list[str]:
        """Return the names of the objects in this folder that begin so.

        Raises
        ------
        InputMissing, NotEnoughResources
            Reading is refused; the store cannot be reached.
        """
        with _while("read", self.address):
            inside = _retried(lambda: [key for key, _ in self._bucket.listing(self._inside + prefix)])
        return sorted(key.removeprefix(self._inside) for key in inside)

    def write(self, pieces: Iterable[memoryview]) -> None:
        """Write an object from pieces of any size, whole or not at all; an older one is replaced.

        Raises
        ------
        OutputProblem, NotEnoughResources
            Writing is refused; the store cannot be reached.
        """
        with _while("write", self.address):
            _retried(lambda: self._bucket.prepare(self._key))
            sending = _send_parts(self._bucket, self._key, True, _in_parts(pieces))
            try:
                _finish(sending)
            except BaseException:
                sending.abandon()
                raise

    def remove(self) -> None:
        """Delete the object.

        Raises
        ------
        OutputProblem, NotEnoughResources
            It is refused; the store cannot be reached.
        """
        with _while("write", self.address):
            _retried(lambda: self._bucket.delete(self._key))

    def _contents(self) -> Facts | dict[str, Facts]:
        """Return the facts of the object, or those of the objects in the folder by name."""
        found = _retried(self._contents_if_any)
        if found is None:
            raise Absent("there is no such object")
        return found

    def _contents_if_any(self) -> Facts | dict[str, Facts] | None:
        try:
            return self._bucket.facts(self._key)
        except Absent:
            inside = {key.removeprefix(self._inside): facts for key, facts in self._bucket.listing(self._inside)}
            # Some stores keep an empty object for a folder; a name that leads elsewhere is none of ours.
            found = {name: facts for name, facts in inside.items() if _is_plain(name)}
            # While it is being written, or for ever if that was killed, a folder is not there yet.
            if found.pop(CLAIM, None) is not None and found.keys().isdisjoint(_NODES):
                return None
            return found or None

    def _fetch_objects(self, found: Mapping[str, Facts], to: Path, progress: Shown) -> None:
        """Fetch objects in the folder."""
        _each(
            {name: facts.size for name, facts in found.items()},
            lambda name: self._fetch_object(self._inside + name, found[name], to / name, _unseen),
            progress,
        )

    def _fetch_object(self, key: str, facts: Facts, to: Path, progress: Shown) -> None:
        """Fetch an object; what is known of it may be outdated."""
        waits = iter(WAITS)
        with in_scratch():
            to.parent.mkdir(parents=True, exist_ok=True)
            file = to.open("wb")
        with file:
            while True:
                signals.check()
                try:
                    self._receive(key, facts, file, progress)
                    return
                except Passing as trouble:
                    wait = next(waits, None)
                    if wait is None:
                        raise
                    _pause(wait)
                    if isinstance(trouble, Changed) or not facts.tag:  # the rest could be that of another version
                        with in_scratch():
                            file.seek(0)
                            file.truncate()
                        facts = _retried(lambda: self._bucket.facts(key))
                        check_scratch(facts.size)

    def _receive(self, key: str, facts: Facts, file: IO[bytes], progress: Shown) -> None:
        """Receive the rest of an object, and check that all of it is one and the same."""
        start = file.tell()
        if start < facts.size:
            with self._bucket.read(key, facts, start) as blocks:
                for block in blocks:
                    with in_scratch():
                        file.write(block)
                    progress(min(1.0, file.tell() / facts.size))
        with in_scratch():
            file.flush()
        if file.tell() < facts.size:
            raise Passing("the connection ended early")
        now = self._bucket.facts(key)
        if file.tell() > facts.size or (now.size, now.tag) != (facts.size, facts.tag):
            raise Changed("it changed while it was read")
        if now.md5 is not None and _md5(Path(file.name)) != now.md5:  # listings of S3 do not say how it is encrypted
            raise Changed("its checksum is not the one that the store keeps")

    def _remove_leftovers(self) -> None:
        """Remove what an attempt that was killed has left in a folder, if it left any: then its claim is there."""
        with suppress(Refused):
            inside = {key.removeprefix(self._inside) for key, _ in self._bucket.listing(self._inside)}
            if CLAIM not in inside:
                return
            if inside.isdisjoint(_NODES):
                _remove_claimed(self._bucket, self._inside)
            else:  # it was complete, or still is
                self._bucket.abort(self._inside)
                self._bucket.delete(self._inside + CLAIM)


class FileUpload:
    """A file on its way to a bucket."""

    def __init__(self, address: Address, bucket: Bucket, key: str, source: Path, force: bool) -> None:
        self.target = source
        self._address, self._bucket, self._key, self._source, self._force = address, bucket, key, source, force
        self._sending: Sending | None = None
        self._arrived = False

    def send(self, progress: Shown) -> None:
        """Send everything but the last word."""
        self._sending = _send(self._bucket, self._key, self._source, self._force, progress)

    def commit(self) -> None:
        """Make the object appear."""
        assert self._sending is not None
        with _while("write", self._address), _answering(self._address):
            _finish(self._sending)
        self._arrived = True

    def withdraw(self) -> None:
        """Undo the commit, if there was nothing before."""
        if self._arrived and not self._force:
            with suppress(Trouble):
                self._bucket.delete(self._key)

    def close(self) -> None:
        """Abandon the upload if it was not committed."""
        if self._sending is not None and not self._arrived:
            self._sending.abandon()


class FolderUpload:
    """A folder on its way to a bucket: the objects that make it a store are the last."""

    def __init__(self, address: Address, bucket: Bucket, key: str, source: Path, force: bool) -> None:
        self.target = source
        self._address, self._bucket, self._source, self._force = address, bucket, source, force
        self._inside = f"{key}/"
        names = sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
        self._last = [name for name in _ROOT if name in names]
        self._names = [name for name in names if name not in self._last]
        self._claim: Sending | None = None
        self._begun = self._arrived = False

    def send(self, progress: Shown) -> None:
        """Send everything but the metadata of the root."""
        former = set(self._there())
        if former and not self._force:
            raise Taken("it exists")
        self._claim = self._bucket.begin(self._inside + CLAIM, replace=False)
        self._claim.send(0, self._claim.token.encode(), last=True)
        _finish(self._claim)
        self._begun = True
        # Half replaced, it must not pass for a store.
        of_the_root = [name for name in reversed(_ROOT) if name in former]
        for name in [*of_the_root, *sorted(former.difference(of_the_root, self._names))]:
            _retried(partial(self._bucket.delete, self._inside + name))
        _each({name: (self._source / name).stat().st_size for name in self._names}, self._put, progress)

    def commit(self) -> None:
        """Send the metadata of the root, if all the rest is there and ours."""
        with _while("write", self._address), _answering(self._address):
            sent = {name: (self._source / name).stat().st_size for name in self._names}
            if not (_retried(self._is_claimed) and sent.items() <= self._there().items()):
                raise Changed("somebody else is writing to it")
            for name in self._last:
                self._put(name)
            self._arrived = True
            with suppress(Trouble):
                self._bucket.delete(self._inside + CLAIM)

    def withdraw(self) -> None:
        """Undo the commit, if there was nothing before."""
        if self._arrived and not self._force:
            with suppress(Trouble):
                for name in [*reversed(self._last), *self._names]:
                    self._bucket.delete(self._inside + name)

    def close(self) -> None:
        """Remove what was sent if it was not committed; what cannot be removed now is left to the next attempt."""
        if self._arrived:
            return
        with suppress(Trouble):
            if not self._is_claimed():  # or somebody else is writing to it
                return
            if self._begun:
                _remove_claimed(self._bucket, self._inside)
            else:
                self._bucket.delete(self._inside + CLAIM)

    def _there(self) -> dict[str, int]:
        """Return the sizes of all objects in the folder."""
        listed = _retried(lambda: list(self._bucket.listing(self._inside)))
        return {key.removeprefix(self._inside): facts.size for key, facts in listed}

    def _is_claimed(self) -> bool:
        """Return whether the claim that is there is ours."""
        with suppress(Absent):
            return self._claim is not None and self._claim.arrived()
        return False

    def _put(self, name: str) -> None:
        _finish(_send(self._bucket, self._inside + name, self._source / name, True, _unseen))


def _remove_claimed(bucket: Bucket, inside: str) -> None:
    """Remove everything in a folder, also what was on its way: what makes it a store first, the claim last."""
    bucket.abort(inside)
    there = {key.removeprefix(inside) for key, _ in bucket.listing(inside)}
    first = [name for name in reversed(_ROOT) if name in there]
    for name in [*first, *sorted(there.difference(first, [CLAIM])), CLAIM]:
        bucket.delete(inside + name)


def _unseen(fraction: float) -> None:
    """Show no progress: of one of many objects."""


def _each(sizes: Mapping[str, int], action: Callable[[str], None], progress: Shown) -> None:
    """Do something with each of many objects, several at a time: most of the time goes by waiting for answers."""
    done = 0
    small = [name for name, size in sizes.items() if size <= LARGE_OBJECT]
    large = [name for name, size in sizes.items() if size > LARGE_OBJECT]
    for names, at_a_time in ((small, OBJECTS_AT_A_TIME), (large, LARGE_AT_A_TIME)):
        with ThreadPoolExecutor(at_a_time) as pool:
            # The threads know the folder for scratch.
            running = [pool.submit(copy_context().run, action, name) for name in names]
            try:
                for each in running:
                    each.result()
                    done += 1
                    progress(done / len(sizes))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _send(bucket: Bucket, key: str, source: Path, replace: bool, progress: Shown) -> Sending:
    """Send a file, again if the store lost what it had of it; only ``finish`` is left to do."""
    return _retried(lambda: _send_parts(bucket, key, replace, _parts_of(source, progress)), Lost)


def _send_parts(bucket: Bucket, key: str, replace: bool, parts: Iterable[tuple[bytes, bool]]) -> Sending:
    """Send parts, each with whether it is the last; only ``finish`` is left to do."""
    sending = bucket.begin(key, replace=replace)
    try:
        for number, (part, last) in enumerate(parts):
            signals.check()
            _retried(partial(sending.send, number, part, last=last))
    except BaseException:
        sending.abandon()
        raise
    return sending


def _parts_of(source: Path, progress: Shown) -> Iterator[tuple[bytes, bool]]:
    """Yield the parts of a file, and whether each is the last; progress is that of those that are done with."""
    size = source.stat().st_size
    step = max(PART_BYTES, -(-size // MOST_PARTS))
    with source.open("rb") as file:
        for start in range(0, max(size, 1), step):
            yield file.read(step), start + step >= size
            progress(min(1.0, (start + step) / max(size, 1)))


def _in_parts(pieces: Iterable[memoryview]) -> Iterator[tuple[bytes, bool]]:
    """Yield the same bytes in parts of one size, and whether each is the last."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > PART_BYTES:
            yield bytes(waiting[:PART_BYTES]), False
            del waiting[:PART_BYTES]
    yield bytes(waiting), True


def _finish(sending: Sending) -> None:
    """Make a sent object appear; if the answer was lost, find out whether it has."""

    def finish() -> None:
        try:
            sending.finish()
        except (Taken, Absent, Lost):
            with suppress(Absent):
                if sending.arrived():
                    return
            raise

    _retried(finish)


def _retried(action: Callable[[], T], what: type[Trouble] = Passing) -> T:
    """Try again, after a while, what failed for the moment."""
    for wait in WAITS:
        try:
            return action()
        except what:
            _pause(wait)
    return action()


def _pause(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        signals.check()
        time.sleep(min(left, 0.1))


def _answering(address: Address) -> AbstractContextManager[None]:
    """Have signals end the process although the store has not answered the last word."""
    return signals.remote(f"whether {address} was written is not known: the store has not answered")


@contextmanager
def _while(doing: str, address: Address) -> Iterator[None]:
    """Turn trouble with a store into one line and an exit code."""
    try:
        yield
    except Trouble as trouble:
        raise _problem(trouble, doing, address) from trouble


def _problem(trouble: Trouble, doing: str, address: Address) -> SccrError:
    failed, reason = f"cannot {doing} {address}", " ".join(str(trouble).split()).removesuffix(".")
    if isinstance(trouble, Passing):
        return NotEnoughResources(f"{failed}: {reason}; tried {len(WAITS) + 1} times, try again later")
    if isinstance(trouble, Lost):
        return NotEnoughResources(f"{failed}: the store lost what was sent ({reason}); try again later")
    if isinstance(trouble, Taken):
        return OutputProblem(f"{failed}: it has appeared in the meantime; use --force to replace it, or another name")
    return InputMissing(f"{failed}: {reason}") if doing == "read" else OutputProblem(f"{failed}: {reason}")


def _size_of(found: Facts | Mapping[str, Facts]) -> int:
    """Return the bytes of an object, or of all objects of a folder."""
    return found.size if isinstance(found, Facts) else sum(facts.size for facts in found.values())


def _tells_shape(name: str) -> bool:
    """Return whether a file of a zarr store tells names, tables or shapes, and not values or whatever else there is."""
    *groups, last = name.split("/")
    # Of a sparse matrix, the pointers are few, and are checked when it is opened.
    return last in METADATA or "indptr" in groups or groups[:1] in (["obs"], ["var"]) or groups[:2] == ["raw", "var"]


def _is_plain(name: str) -> bool:
    return all(segment not in ("", ".", "..") for segment in name.split("/"))


def _md5(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
