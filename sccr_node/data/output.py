"""The output: a storage-level copy of the input, to which the step appends, renamed into place when it is complete."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sccr_node.data.dataset import InputData, open_input, reading
from sccr_node.errors import InputProblem, NotEnoughResources, UsageProblem
from sccr_node.storage.atomic import Staged, staged, writing
from sccr_node.storage.store import Appender, Hdf5Appender, ZarrAppender, quiet, write_h5ad, write_zarr
from sccr_node.storage.targets import StoreTarget, Target, check_targets

OUTPUT_SUFFIXES = (".h5ad", ".zarr")

_COPY_BYTES = 4 * 2**20


def output_target(output: Path) -> Target:
    """Return what an output is to become, by its ending: an .h5ad file or a .zarr folder.

    Raises
    ------
    UsageProblem
        The name has another ending.
    """
    if output.suffix not in OUTPUT_SUFFIXES:
        raise UsageProblem(f"{output} does not say its format: give it the ending {' or '.join(OUTPUT_SUFFIXES)}")
    return StoreTarget(output) if output.suffix == ".zarr" else Target(output)


def check_keys(data: InputData, keys: Iterable[tuple[str, str]], *, overwrite: bool) -> None:
    """Refuse keys, as (slot, key), that the input has already.

    Raises
    ------
    InputProblem
        Where there are some and ``overwrite`` does not allow it, or a slot is nothing that can be appended to.
    """
    keys = list(keys)
    if data.format == "h5ad":
        _check_slots(data, {slot for slot, _ in keys})
    if overwrite:
        return
    taken = [f"{slot}[{key!r}]" for slot, key in keys if data.has_key(slot, key)]
    if taken:
        raise InputProblem(
            f"{data.path} has {', '.join(taken)} already: give --overwrite-keys to replace "
            f"{'it' if len(taken) == 1 else 'them'}, or another --key-added"
        )


def _check_slots(data: InputData, slots: set[str]) -> None:
    for slot in sorted(slots & set(data.root)):
        if isinstance(data.root.get(slot, getlink=True), h5py.ExternalLink):
            raise InputProblem(
                f"{slot} of {data.path} is a link into another file, which is not written to: copy it into the file"
            )
        element = data.root[slot]
        if not hasattr(element, "keys") and not (slot in ("obsm", "var") and element.dtype.names):
            raise InputProblem(
                f"{slot} of {data.path} is a plain array, which nothing can be added to: rewrite the file"
            )


def input_bytes(path: Path) -> int:
    """Size on disk of a file, or of a folder with all that is in it."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(Path(folder, name).stat().st_size for folder, _, names in tree(path) for name in names)


def tree(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder as ``os.walk`` does, into linked folders too, but never around a circle of links."""
    for folder, folders, names in os.walk(path, followlinks=True):
        here = Path(os.path.realpath(folder))
        above = {here, *here.parents}
        folders[:] = sorted(name for name in folders if Path(os.path.realpath(Path(folder, name))) not in above)
        yield folder, folders, names


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, over the sorted relative paths and the contents of its files.

    Returns
    -------
    str
        Hexadecimal digits.
    """
    with reading(path, "the bytes"):
        if not path.is_dir():
            return _digest_of_file(path)
        files = [Path(folder, name).relative_to(path) for folder, _, names in tree(path) for name in names]
        return _digest_of_tree({file: _digest_of_file(path / file) for file in files})


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_tree(digests: Mapping[Path, str]) -> str:
    whole = hashlib.sha256()
    for name in sorted(digests, key=lambda file: file.as_posix()):
        # Lengths are fixed (digests) or ended (NUL), so that no two trees give the same stream.
        whole.update(os.fsencode(name.as_posix()) + b"\0" + bytes.fromhex(digests[name]))
    return whole.hexdigest()


class StagedOutput:
    """An output in the making: the input's copy, open for appending.

    Parameters
    ----------
    staged_copy
        The temporary that holds the copy.
    appender
        Writes to it.
    source
        What was copied.
    data
        The copy, opened for reading what was copied; the source itself if that lies in memory.
    digest
        SHA-256 of what was copied; None if it was not taken.
    """

    def __init__(
        self, staged_copy: Staged, appender: Appender, source: InputData, data: InputData, digest: str | None
    ) -> None:
        self._staged, self._appender = staged_copy, appender
        self._source, self.data = source, data
        self._digest = digest
        self._finished = False

    @property
    def sha256(self) -> str:
        """SHA-256 of the input, as it was read."""
        if self._digest is None:
            self._digest = sha256_of(self._source.path)
            self._source.check_unchanged()
        return self._digest

    @property
    def target(self) -> Path:
        """Where the output will stand."""
        return self._staged.target

    def write_layer(self, key: str, shape: tuple[int, int], blocks: Iterable[Any], *, sparse: bool = True) -> None:
        """Write a float32 layer from blocks of whole cells, in order: CSR blocks, or dense ones if not ``sparse``."""
        with writing(self.target):
            if sparse:
                self._appender.write_csr("layers", key, shape, blocks)
            else:
                self._appender.write_dense("layers", key, shape, blocks)

    def write_obsm(self, key: str, values: np.ndarray) -> None:
        """Write an array of cells x components in its own type."""
        with writing(self.target):
            self._appender.write_dense("obsm", key, (values.shape[0], values.shape[1]), [values], values.dtype)

    def write_varp(self, key: str, matrix: Any) -> None:
        """Write a sparse matrix of genes x genes in its own type."""
        with writing(self.target):
            self._appender.write_csr("varp", key, matrix.shape, [matrix.tocsr()], matrix.dtype)

    def write_var_column(self, key: str, values: np.ndarray) -> None:
        """Write a column of ``var``: one value for each gene."""
        with writing(self.target):
            self._appender.write_var_column(key, values)

    def write_uns(self, key: str, record: dict[str, Any]) -> None:
        """Write a nested record of numbers, strings, booleans and lists; None is left out."""
        with writing(self.target):
            self._appender.write_record("uns", key, record)

    def finish(self) -> Path:
        """Close the store; nothing more can be appended, but what is staged can be read where it lies."""
        if not self._finished:
            with writing(self.target):
                self._appender.close()
            self._finished = True
        return self._staged.path

    def flush(self) -> None:
        """Have the finished output written to the disk."""
        self._staged.flush()

    def commit(self) -> None:
        """Finish the output, flush it, and put it in the target's place."""
        self.finish()
        with writing(self.target):
            self._staged.commit()


@contextmanager
def stage_output(
    data: InputData,
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    replaced_keys: Iterable[tuple[str, str]] = (),
    added_bytes: int = 0,
    compression: str = "auto",
    threads: int | None = None,
    hashed: bool = False,
) -> Iterator[StagedOutput]:
    """Copy the input beside the output's place, open for appending; without ``commit`` the copy is removed.

    Between h5ad files and between zarr folders the copy is one of bytes. Between different formats, and from 10x, it
    goes through anndata, in memory.

    Parameters
    ----------
    data
        The opened input.
    output
        An .h5ad file or a .zarr folder.
    force
        Whether one that exists may be replaced.
    replaced_keys
        Keys, as (slot, key), that are removed from the copy before anything is appended.
    added_bytes
        Estimate of what will be appended, for the check of free space.
    compression
        Of what is appended: "auto", "gzip" or "none".
    threads
        Threads that compress; the bytes do not depend on it.
    hashed
        Whether the digest of the input is taken while it is copied.

    Raises
    ------
    UsageProblem, OutputProblem
        See ``output_target`` and ``check_targets``.
    NotEnoughResources
        Where the disk has no room.
    """
    output = Path(output)
    target = output_target(output)
    check_targets([target], [data.path], force=force)
    _check_room(output, input_bytes(data.path) + added_bytes)
    is_zarr = output.suffix == ".zarr"
    with staged(output, folder=is_zarr, check=target.check_replaceable) as temporary, ExitStack() as opened:
        with writing(output):
            digest = _copy(data, temporary.path, is_zarr, hashed)
            data.check_unchanged()
        # Opened before the appender marks the file as one that is being written.
        copied = opened.enter_context(_reread(data, temporary.path))
        with writing(output):
            kind = ZarrAppender if is_zarr else Hdf5Appender
            appender: Appender = kind(temporary.path, compression, threads)
        made = StagedOutput(temporary, appender, data, copied, digest)
        try:
            with writing(output):
                for slot, key in replaced_keys:
                    appender.delete(slot, key)
            yield made
        finally:
            if not temporary.committed:
                appender.abandon()


@contextmanager
def _reread(data: InputData, copy: Path) -> Iterator[InputData]:
    """Open a copy in the place of what was copied, under the name that the user knows."""
    if not data.is_streamed or not data.is_stored:
        yield data
        return
    with open_input(copy, data.layer) as copied:
        copied.path = data.path
        yield copied


def _check_room(output: Path, needed: int) -> None:
    disk = os.statvfs(output.parent)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise NotEnoughResources(
            f"not enough disk space for {output}: about {needed / 2**20:.0f} MiB are needed and {free / 2**20:.0f} MiB "
            "are free; free some, or write elsewhere"
        )


def _copy(data: InputData, target: Path, is_zarr: bool, hashed: bool) -> str | None:
    """Copy an input, byte by byte if the formats are the same; returns its digest if that was asked for and seen."""
    if data.format == "h5ad" and not is_zarr:
        return copy_file(data.path, target, hashed=hashed)
    if data.format == "zarr" and is_zarr:
        return copy_tree(data.path, target, hashed=hashed)
    _convert(data, target, is_zarr)
    return None


def copy_file(source: Path, target: Path, *, hashed: bool = False) -> str | None:
    """Copy the contents of a file, and return their SHA-256 if asked for."""
    if not hashed:
        shutil.copyfile(source, target)
        return None
    digest = hashlib.sha256()
    with source.open("rb", buffering=0) as file, target.open("wb", buffering=0) as copy:
        while block := file.read(_COPY_BYTES):
            digest.update(block)
            view = memoryview(block)
            while view:
                view = view[copy.write(view) :]
    return digest.hexdigest()


def copy_tree(source: Path, target: Path, *, hashed: bool = False) -> str | None:
    """Copy the files of a folder into an existing one: contents only, so that read-only inputs give writable copies."""
    digests: dict[Path, str] = {}
    for folder, folders, names in tree(source):
        here = Path(folder).relative_to(source)
        for name in folders:
            (target / here / name).mkdir()
        for name in names:
            digest = copy_file(Path(folder, name), target / here / name, hashed=hashed)
            if digest is not None:
                digests[here / name] = digest
    return _digest_of_tree(digests) if hashed else None


def _convert(data: InputData, target: Path, is_zarr: bool) -> None:
    import anndata

    with reading(data.path, "the data"), quiet():
        if data.format == "h5ad":
            adata = anndata.read_h5ad(data.path)
        elif data.format == "zarr":
            adata = anndata.read_zarr(data.path)
        else:
            adata = data.root
    if is_zarr:
        write_zarr(target, adata)
    else:
        write_h5ad(target, adata)
