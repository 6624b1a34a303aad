"""Checkpoints: what finished stages returned, kept in files until the run has succeeded.

A checkpoint is a line that says what it is, the length of a header, the header (JSON), the bytes of all arrays, and the
SHA-256 of everything before it. None of it is code, and nothing of it is used before the checksum has been compared. A
checkpoint that is damaged, or belongs to another input, version or type of CPU, is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sccr_node import __version__
from sccr_node.errors import InputMissing, NotEnoughResources, SccrError, UsageProblem, reason_of
from sccr_node.numerics import level
from sccr_node.runtime import signals
from sccr_node.runtime.resources import readable_bytes
from sccr_node.runtime.words import quantity
from sccr_node.storage.blobs import Blobs, FolderBlobs
from sccr_node.storage.places import is_remote, place

ALGORITHM = 1
"""Raise it whenever a stage returns other bits than before."""

MAGIC = b"sccr checkpoint 1\n"

DTYPES = ("<f4", "<f8", "<i4", "<i8")
"""What the arrays of stages consist of."""

_LENGTH_BYTES = 8
_LONGEST_HEADER = 2**20
_DIGEST_BYTES = 32
_READ_BYTES = 4 * 2**20

Tell = Callable[[str], None]


class _ArraySpec(NamedTuple):
    """The type and shape of an array, and the byte at which it begins."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Checkpoint:
    """What was kept of a stage: verified, and still in its file.

    Attributes
    ----------
    value
        What is not in arrays, as JSON.
    seconds
        How long the stage took.
    """

    def __init__(self, file: BinaryIO, value: Any, seconds: float, arrays: Sequence[_ArraySpec]) -> None:
        self._file, self._arrays = file, arrays
        self.value, self.seconds = value, seconds

    def array(self, number: int, into: NDArray[np.float32] | None = None) -> NDArray[Any]:
        """Return an array, which is read into the beginning of a buffer if one is given.

        Raises
        ------
        ValueError
            It does not fit.
        NotEnoughResources
            It can no longer be read.
        """
        spec = self._arrays[number]
        if into is None:
            flat = np.empty(math.prod(spec.shape), spec.dtype)
        elif spec.dtype == into.dtype and math.prod(spec.shape) <= len(into):
            flat = into[: math.prod(spec.shape)]
        else:
            raise ValueError("an array does not fit")
        left = flat.view(np.uint8).data
        try:
            self._file.seek(spec.offset)
            while left:
                signals.check()
                got = self._file.readinto(left[:_READ_BYTES])  # type: ignore[attr-defined]
                if not got:
                    raise OSError("it was cut off meanwhile")
                left = left[got:]
        except OSError as error:
            # What was in the buffer is lost, and the next attempt sees what is the matter.
            raise NotEnoughResources(f"cannot read a checkpoint: {reason_of(error)}; try again") from error
        return flat.reshape(spec.shape)


def blobs_in(folder: str | Path) -> Blobs:
    """Return the place that a user names: a local folder, or one in an object store."""
    if isinstance(folder, str) and is_remote(folder):
        from sccr_node.storage.places.objects import RemoteBlobs  # only now: few need it

        return RemoteBlobs(place(folder))
    return FolderBlobs(Path(folder))


@dataclass(frozen=True)
class CheckpointPlace:
    """Where the checkpoints of a run are, and what identifies its input; can be passed to another process.

    Attributes
    ----------
    folder
        The folder.
    source
        What identifies the input, such as its SHA-256.
    """

    folder: str
    source: str

    def opened(self, say: Tell, warn: Tell) -> Checkpoints:
        """Return the checkpoints, which tell what they do by these functions."""
        return Checkpoints(blobs_in(self.folder), self.source, say=say, warn=warn)


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    blobs
        Where they are.
    source
        What identifies the input.
    say, warn
        Show a message, and a warning.

    Attributes
    ----------
    usable
        Whether the place can be used at all.
    n_resumed, n_kept
        How many stages were not repeated, and how many were kept.
    saved_seconds
        How long the stages that were not repeated took when they were done.
    """

    def __init__(self, blobs: Blobs, source: str, *, say: Tell, warn: Tell) -> None:
        self._blobs, self._say, self._warn = blobs, say, warn
        # Results are the same to the bit only in one version and on one type of CPU.
        told = repr((source, __version__, ALGORITHM, level()))
        self._origin = hashlib.sha256(told.encode()).hexdigest()
        self._used: set[str] = set()
        self._warned: set[str] = set()
        self.n_resumed = self.n_kept = 0
        self.saved_seconds = 0.0
        try:
            blobs.prepare()
            self.usable = True
        except UsageProblem:  # the library for it is not installed
            raise
        except (SccrError, OSError) as problem:
            self.usable = False
            warn(f"cannot keep checkpoints in {blobs}: {_reason(problem)}; the run goes on without them")

    def name_of(self, key: str) -> str:
        """Return the name of a stage's checkpoint."""
        return f"{self._prefix}{hashlib.sha256((self._origin + key).encode()).hexdigest()[:40]}.checkpoint"

    @property
    def _prefix(self) -> str:
        return f"sccr-{self._origin[:16]}-"

    @contextmanager
    def found(self, key: str) -> Iterator[Checkpoint | None]:
        """Give what was kept for a stage; None if there is nothing, or nothing that can be believed."""
        name = self.name_of(key)
        with ExitStack() as opened:
            stored = None
            if not self.usable:
                yield None
                return
            try:
                file = opened.enter_context(self._blobs.read(name))
                self._used.add(name)  # a damaged one is ours, too
                stored = _verified(file, self._origin, key)
            except InputMissing:
                pass
            except (SccrError, ValueError, OSError) as problem:
                self._ignore(name, _reason(problem))
            yield stored

    def resumed(self, seconds: float) -> None:
        """Count a stage that was not repeated, and took so many seconds when it was done."""
        if not self.n_resumed:
            self._say(f"resuming from the checkpoints in {self._blobs}")
        self.n_resumed += 1
        self.saved_seconds += seconds

    def refused(self, key: str) -> None:
        """Warn that what was kept for a stage is of another type than it returns."""
        self._ignore(self.name_of(key), "it is not what the stage returns")

    def keep(self, key: str, stage: str, value: Any, arrays: Sequence[NDArray[Any]], seconds: float) -> None:
        """Keep what a stage returned; if that is not possible, say so and go on."""
        if not self.usable:
            return
        header = _header(self._origin, key, value, arrays, seconds)
        size = len(header) + sum(array.nbytes for array in arrays) + _DIGEST_BYTES
        free = self._blobs.free()
        reason = ""
        if free is not None and free < size:
            reason = f"{readable_bytes(size)} needed, {readable_bytes(free)} free"
        else:
            try:
                self._blobs.write(self.name_of(key), _with_digest(header, arrays))
            except (SccrError, OSError) as problem:
                reason = _reason(problem)
        if reason:
            self._once(f"cannot keep the stage {stage!r} in {self._blobs}: {reason}; the run goes on without it")
            return
        self._used.add(self.name_of(key))
        self.n_kept += 1

    def summarise(self) -> None:
        """Say how many stages were not repeated, if any."""
        if self.n_resumed:
            not_repeated = quantity(self.n_resumed, "stage was", "stages were")
            self._say(f"{not_repeated} not repeated, thanks to the checkpoints in {self._blobs}")

    def remove(self) -> None:
        """Remove those that this run read or wrote: it has succeeded."""
        for name in self._used:
            self._blobs.remove(name)
        self._blobs.sweep(self._prefix)
        self._blobs.close()

    def remove_all(self) -> None:
        """Remove those of all runs of the same source."""
        self._used |= set(self._blobs.names(self._prefix))
        self.remove()

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        self._blobs.sweep(self._prefix)

    def _ignore(self, name: str, reason: str) -> None:
        self._once(f"ignoring the checkpoint {name} in {self._blobs}: {reason}; what it was to keep is computed again")

    def _once(self, warning: str) -> None:
        """Show a warning, but only the first of its kind: a full disk or a broken one affects all stages."""
        kind = warning.split()[0]
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(warning)


def _reason(problem: Exception) -> str:
    """Return why something failed, without the beginning of a message that says what."""
    if isinstance(problem, OSError):
        return reason_of(problem)
    text = str(problem)
    return text.split(": ", 1)[1].split("; ")[0] if text.startswith("cannot ") and ": " in text else text


def _header(origin: str, key: str, value: Any, arrays: Sequence[NDArray[Any]], seconds: float) -> bytes:
    described = [{"dtype": array.dtype.newbyteorder("<").str, "shape": array.shape} for array in arrays]
    assert all(each["dtype"] in DTYPES for each in described), described
    told = {"origin": origin, "key": key, "seconds": seconds, "value": value, "arrays": described}
    text = json.dumps(told).encode()
    return MAGIC + len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _with_digest(header: bytes, arrays: Sequence[NDArray[Any]]) -> Iterator[memoryview]:
    summed = hashlib.sha256(header)
    yield memoryview(header)
    for array in arrays:
        part = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
        for first in range(0, len(part), _READ_BYTES):
            block = part[first : first + _READ_BYTES]
            summed.update(block)
            yield block
    yield memoryview(summed.digest())


def _verified(file: BinaryIO, origin: str, key: str) -> Checkpoint:
    """Return what a file contains.

    Raises
    ------
    ValueError
        It is damaged, or is not what was kept for this stage.
    """
    size = file.seek(0, 2)
    file.seek(0)
    begin = _exactly(file, len(MAGIC) + _LENGTH_BYTES)
    if not begin.startswith(MAGIC):
        raise ValueError("it is not a checkpoint of this version")
    length = int.from_bytes(begin[len(MAGIC) :], "little")
    if length > _LONGEST_HEADER:
        raise ValueError("it is damaged")
    text = _exactly(file, length)
    try:
        told = json.loads(text)
        seconds, arrays, end = float(told["seconds"]), [], len(begin) + length
        for each in told["arrays"]:
            shape = tuple(int(n) for n in each["shape"])
            if each["dtype"] not in DTYPES or any(n < 0 for n in shape):
                raise ValueError("no such array")
            arrays.append(_ArraySpec(np.dtype(each["dtype"]), shape, end))
            end += arrays[-1].nbytes
        value, own = told["value"], (told["origin"], told["key"]) == (origin, key)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        raise ValueError("it is damaged") from None
    if end + _DIGEST_BYTES != size:
        raise ValueError("it is damaged")
    summed, left = hashlib.sha256(begin + text), end - len(begin) - length
    while left:
        signals.check()
        block = _exactly(file, min(left, _READ_BYTES))
        summed.update(block)
        left -= len(block)
    if _exactly(file, _DIGEST_BYTES) != summed.digest():
        raise ValueError("it is damaged")
    if not own or not math.isfinite(seconds):
        raise ValueError("it belongs to something else")
    return Checkpoint(file, value, seconds, arrays)


def _exactly(file: BinaryIO, n: int) -> bytes:
    """Read so many bytes; files are not buffered here, and give as many as they like."""
    parts = []
    while n:
        part = file.read(n)
        if not part:
            raise ValueError("it is damaged")
        parts.append(part)
        n -= len(part)
    return b"".join(parts)
