"""The output: a storage-level copy of the input that results are appended to, renamed into place when complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sccr_node.data.dataset import Dataset, open_dataset
from sccr_node.data.elements import copy_store
from sccr_node.data.guard import one_line, reading
from sccr_node.errors import InputProblem, writing
from sccr_node.runtime.words import plural
from sccr_node.storage.atomic import Staged, staged
from sccr_node.storage.copying import sha256_of, size_on_disk
from sccr_node.storage.files import check_room
from sccr_node.storage.formats import format_of_copy
from sccr_node.storage.store import Appender, StoreFormat
from sccr_node.storage.targets import check_targets


def check_keys(data: Dataset, keys: Iterable[tuple[str, str]], *, overwrite: bool) -> None:
    """Refuse keys, as (slot, key), that the input already has.

    Raises
    ------
    InputProblem
        The input has one and ``overwrite`` is false, its names are stored under one, or a slot cannot be appended to.
    """
    keys = list(keys)
    if data.store is not None:
        with reading(data.path, "the contents"):
            data.store.check_slots(data.root, {slot for slot, _ in keys}, data.path)
    names = [f"{slot}[{key!r}]" for slot, key in keys if data.names_are(slot, key)]
    if names:
        raise InputProblem(
            f"{data.path} has its names in {', '.join(names)}, which cannot be replaced: give another --key-added"
        )
    if overwrite:
        return
    taken = [f"{slot}[{key!r}]" for slot, key in keys if data.has_key(slot, key)]
    if taken:
        raise InputProblem(
            f"{data.path} already has {', '.join(taken)}: give --overwrite-keys to replace "
            f"{plural(len(taken), 'it', 'them')}, or another --key-added"
        )


class StagedOutput:
    """An output in the making: a copy of the input, open for appending.

    Parameters
    ----------
    staged_copy
        The temporary file or folder with the copy.
    appender
        Writes to it.
    source
        The input that was copied.
    data
        The copy, opened for reading; the source itself if that is in memory.
    digest
        SHA-256 of the bytes copied; None if it was not computed.
    """

    def __init__(
        self, staged_copy: Staged, appender: Appender, source: Dataset, data: Dataset, digest: str | None
    ) -> None:
        self._staged, self._appender = staged_copy, appender
        self._source, self.data = source, data
        self._digest = digest
        self._finished = False

    @property
    def sha256(self) -> str:
        """SHA-256 of the input, as it was read."""
        if self._digest is None:
            with reading(self._source.path, "the bytes"):
                self._digest = sha256_of(self._source.path)
            self._source.check_unchanged()
        return self._digest

    @property
    def bytes(self) -> int:
        """Size of the copy with what was appended to it."""
        return size_on_disk(self._staged.path)

    def written_sha256(self) -> str:
        """Return the SHA-256 of the finished copy, which is read once more for it."""
        with reading(self.target, "the bytes"):
            return sha256_of(self._staged.path)

    @property
    def target(self) -> Path:
        """The output's final path."""
        return self._staged.target

    def write_layer(self, key: str, shape: tuple[int, int], blocks: Iterable[Any], *, sparse: bool = True) -> None:
        """Write a float32 layer from blocks of whole cells, in order: CSR blocks, or dense ones if not ``sparse``."""
        with writing(self.target):
            if sparse:
                self._appender.write_csr("layers", key, shape, blocks)
            else:
                self._appender.write_dense("layers", key, shape, blocks)

    def write_obsm(self, key: str, values: np.ndarray) -> None:
        """Write an array of cells x components, keeping its type."""
        with writing(self.target):
            self._appender.write_dense("obsm", key, (values.shape[0], values.shape[1]), [values], values.dtype)

    def write_varp(self, key: str, matrix: Any) -> None:
        """Write a sparse matrix of genes x genes, keeping its type."""
        with writing(self.target):
            self._appender.write_csr("varp", key, matrix.shape, [matrix.tocsr()], matrix.dtype)

    def write_var_column(self, key: str, values: np.ndarray) -> None:
        """Write a column of ``var``: one value per gene."""
        with writing(self.target):
            self._appender.write_column("var", key, values)

    def write_obs_column(self, key: str, values: np.ndarray) -> None:
        """Write a column of ``obs``: one value per cell."""
        with writing(self.target):
            self._appender.write_column("obs", key, values)

    def write_uns(self, key: str, record: dict[str, Any]) -> None:
        """Write a nested record of numbers, strings, booleans and lists; None is left out."""
        with writing(self.target):
            self._appender.write_record("uns", key, record)

    def write_in_uns(self, key: str, name: str, record: dict[str, Any]) -> None:
        """Write a record into an entry of ``uns``, instead of the one with its name; an empty one removes it."""
        with writing(self.target):
            self._appender.delete(f"uns/{key}", name)
            if record:
                self._appender.write_record(f"uns/{key}", name, record)

    def move(self, old: str, new: str) -> None:
        """Rename an element; paths as in ``layers/counts``."""
        with writing(self.target):
            self._appender.move(old, new)

    def finish(self) -> None:
        """Close the store; nothing more can be appended."""
        if not self._finished:
            with writing(self.target):
                try:
                    self._appender.close()
                except (
                    ValueError,
                    LookupError,
                    TypeError,
                    AttributeError,
                ) as error:  # metadata that nobody has read yet
                    raise InputProblem(
                        f"cannot write {self.target}: the metadata of {self._source.path} are not as expected "
                        f"({one_line(error)}); create the file again, e.g. with anndata"
                    ) from error
            self._finished = True

    def flush(self) -> None:
        """Flush the finished output to disk."""
        self._staged.flush()

    def withdraw(self) -> None:
        """Undo the commit, if the target did not exist before."""
        self._staged.withdraw()

    def commit(self) -> None:
        """Finish the output, flush it, and rename it to the target."""
        self.finish()
        with writing(self.target):
            self._staged.commit()


@contextmanager
def stage_output(
    data: Dataset,
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    replaced_keys: Iterable[tuple[str, str]] = (),
    added_bytes: int = 0,
    compression: str = "auto",
    threads: int | None = None,
    hashed: bool = False,
) -> Iterator[StagedOutput]:
    """Copy the input next to the output, open for appending; without ``commit`` the copy is removed.

    Between files and between folders of one format the copy is made byte by byte, between different formats element by
    element. From 10x, and from tables of AnnData before 0.7, it goes through anndata, in memory.

    Parameters
    ----------
    data
        The opened input.
    output
        An .h5ad file or a .zarr folder; an .h5mu file if the input is one.
    force
        Whether an existing output is replaced.
    replaced_keys
        Keys, as (slot, key), that are removed from the copy before anything is appended.
    added_bytes
        Estimated size of what will be appended, to check the free space.
    compression
        Compression of what is appended: "auto", "gzip" or "none".
    threads
        Number of threads for compression; does not affect the bytes written.
    hashed
        Whether to compute the digest of the input while copying it.

    Raises
    ------
    UsageProblem, OutputProblem
        See ``format_of_copy`` and ``check_targets``.
    NotEnoughResources
        There is not enough disk space.
    """
    output = Path(output)
    store = format_of_copy(output, data.store)
    target = store.target(output)
    check_targets([target], [data.path], force=force)
    check_room(output, size_on_disk(data.path) + added_bytes)
    with (
        staged(output, replace=force, folder=store.is_folder, check=target.check_replaceable) as temporary,
        ExitStack() as opened,
    ):
        with writing(output):
            digest = _copy(data, temporary, store, threads, hashed)
            data.check_unchanged()
        # Opened before the appender marks the file as open for writing.
        copied = opened.enter_context(_reread(data, temporary.path, store.modality))
        with writing(output):
            appender = store.appender(temporary.path, compression, threads)
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
def _reread(data: Dataset, copy: Path, modality: str | None) -> Iterator[Dataset]:
    """Open a copy instead of the original, under the path that the user knows."""
    if not data.is_streamed or not data.is_stored:
        yield data
        return
    with open_dataset(copy, data.layer, modality=modality) as copied:
        copied.path = data.path
        yield copied


def _copy(data: Dataset, copy: Staged, store: StoreFormat, threads: int | None, hashed: bool) -> str | None:
    """Copy an input, byte by byte if the formats match; return the digest if asked for and if bytes were copied."""
    if data.store is store:
        return store.copy(data.path, copy.path, hashed=hashed)
    if data.has_tables:
        appender = store.appender(copy.path, "auto", threads, new=True)
        try:
            copy_store(data, appender, copy.target)
            appender.close()
        except BaseException:
            appender.abandon()
            raise
        return None
    adata = data.root
    if data.store is not None:
        with reading(data.path, "the data"):
            adata = data.store.read(data.path)
    store.write(copy.path, adata)
    return None
