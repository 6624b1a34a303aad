"""Copy files and folders byte by byte, with a digest of what was copied."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from sccr_node.errors import InputProblem
from sccr_node.runtime import signals

_COPY_BYTES = 4 * 2**20


def size_on_disk(path: Path) -> int:
    """Return the size on disk of a file, or of a folder with all its contents."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(Path(folder, name).stat().st_size for folder, _, names in tree(path) for name in names)


def tree(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder like ``os.walk``, also into linked folders, but never around a loop of links.

    Raises
    ------
    InputProblem
        There is something that is neither a file nor a folder: reading it could block or never end.
    """
    here = Path(os.path.realpath(path))
    above = {here, *here.parents}
    folders, names = [], []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_file():
                names.append(entry.name)
            elif not entry.is_dir():
                what = "a link to nothing" if entry.is_symlink() and not os.path.exists(entry) else "a pipe or a device"
                raise InputProblem(
                    f"cannot read {entry.path}: it is {what}, not a file; restore the file, or copy the folder again"
                )
            elif Path(os.path.realpath(entry.path)) not in above:
                folders.append(entry.name)
    yield str(path), folders, names
    for name in folders:
        yield from tree(path / name)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file; for a folder, of the sorted relative paths and the contents of its files.

    Returns
    -------
    str
        Hexadecimal digits.
    """
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
        # Lengths are fixed (digests) or terminated (NUL), so that no two trees give the same stream.
        whole.update(os.fsencode(name.as_posix()) + b"\0" + bytes.fromhex(digests[name]))
    return whole.hexdigest()


def copy_file(source: Path, target: Path, *, hashed: bool = False) -> str | None:
    """Copy the contents of a file, and return their SHA-256 if asked for."""
    signals.check()
    if not hashed:
        shutil.copyfile(source, target)
        return None
    digest = hashlib.sha256()
    with source.open("rb", buffering=0) as file, target.open("wb", buffering=0) as copy:
        while block := file.read(_COPY_BYTES):
            signals.check()
            digest.update(block)
            view = memoryview(block)
            while view:
                view = view[copy.write(view) :]
    return digest.hexdigest()


def copy_tree(source: Path, target: Path, *, hashed: bool = False) -> str | None:
    """Copy the files of a folder to an existing one; only their contents, so that read-only inputs become writable."""
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
