"""Run a command on remote files: what it reads is fetched to scratch, and what it wrote there goes to its address.

Below, a command knows only paths of this machine: those of stand-ins, in one private folder that mirrors the addresses.
What already exists at the address of an output is there in outline, so that it is refused or replaced by the rules for
files. When the command moves its outputs into place, :func:`~sccr_node.storage.atomic.commit_all` hands them to us.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sccr_node.contract.fields import path_fields
from sccr_node.contract.shared import Parameters
from sccr_node.errors import UsageProblem
from sccr_node.runtime.console import Console
from sccr_node.runtime.scratch import in_scratch, scratch_dir
from sccr_node.runtime.standins import identify, stand_for
from sccr_node.storage.atomic import Committable, delivering, staged
from sccr_node.storage.places import place
from sccr_node.storage.places.address import Address, is_remote
from sccr_node.storage.places.transfer import clients_kept
from sccr_node.storage.targets import Target

Given = TypeVar("Given", bound=Parameters)


class StandIns:
    """A folder of stand-ins for remote files and folders.

    Parameters
    ----------
    root
        The folder.
    console
        Shows progress.
    """

    def __init__(self, root: Path, console: Console | None) -> None:
        self._root, self._console = root, console
        self._fetched: set[Path] = set()
        self._outlined: set[Path] = set()

    def of(self, address: Address) -> Path:
        """Return the stand-in of an address, which need not exist yet."""
        # A query can be what tells two files of a server apart; it can be a signature, too: no path shows it.
        kind = f"{address.scheme}-{address.digest_of_query()}" if address.query else address.scheme
        folder = self._root / kind / address.bucket
        stand_for(folder, f"{address.scheme}://{address.bucket}")
        with in_scratch():
            folder.joinpath(address.key).parent.mkdir(parents=True, exist_ok=True)
        return folder / address.key

    def fetch(self, address: Address) -> Path:
        """Fetch a file or folder, unless it is there already."""
        path = self.of(address)
        if path not in self._fetched:
            there = place(address)
            identify(path, there.identity())  # before: a change in the meantime is then taken for one since the fetch
            there.fetch(path, self._progress("download", address))
            self._fetched.add(path)
            self._close_bar()
        return path

    @contextmanager
    def opened(self, address: Address) -> Iterator[Path]:
        """Lay out a file or store for the time of the block: nothing is fetched but what is read to open it."""
        path = self.of(address)
        with place(address).opened(path):
            yield path

    def outline(self, address: Address) -> Path:
        """Prepare the address of an output."""
        if not address.can_be_written:
            raise UsageProblem(f"cannot write {address}: {address.scheme}:// can only be read; give another address")
        path = self.of(address)
        if path not in self._outlined:
            there = place(address)
            there.prepare(folder=path.suffix in (".zarr", ""))
            there.outline(path)
            self._outlined.add(path)
        return path

    def check_outputs(self, inputs: Collection[Path], *, force: bool) -> None:
        """Refuse files that exist already; an output that is an input is refused with a better reason, later."""
        for path in self._outlined - set(inputs):
            if path.is_file():
                Target(path).check(force=force)

    @contextmanager
    def delivered(self, parts: Sequence[Committable], *, force: bool) -> Iterator[Sequence[Committable]]:
        """Send what was written to stand-ins; the commits that are left to do are yielded, in the same order."""
        with ExitStack() as opened:
            ready: list[Committable] = []
            for part in parts:
                address = self._address_of(part.target)
                if address is None:
                    ready.append(part)
                    continue
                part.commit()
                report = self._progress("upload", address)
                ready.append(opened.enter_context(place(address).upload(part.target, force=force, progress=report)))
            self._close_bar()
            yield ready

    def _address_of(self, path: Path) -> Address | None:
        """Return the address that a file stands for, itself or as part of a folder; None for a file of this machine."""
        if not path.is_relative_to(self._root):
            return None
        scheme, bucket, *key = path.relative_to(self._root).parts
        return Address(scheme, bucket, "/".join(key))

    def _progress(self, what: str, address: Address) -> Any:
        return lambda fraction: (
            None if self._console is None else self._console.progress(f"{what} {address.name}", fraction)
        )

    def _close_bar(self) -> None:
        if self._console is not None:
            self._console.close_bar()


@contextmanager
def stand_ins(console: Console | None = None) -> Iterator[StandIns]:
    """Make a private folder of stand-ins in scratch, removed at the end; those of dead processes are removed, too."""
    with clients_kept(), staged(scratch_dir() / "sccr-remote", replace=False, folder=True) as private:
        private.path.chmod(0o700)
        yield StandIns(Path(os.path.realpath(private.path)), console)


@contextmanager
def brought_near(
    asked: Given,
    given: Mapping[str, Any],
    written: Collection[str],
    console: Console,
    only: Collection[str] | None = None,
    by_header: Collection[str] = (),
) -> Iterator[tuple[Given, dict[str, Any]]]:
    """Replace the remote addresses among the parameters and arguments of a command by paths of this machine.

    Parameters
    ----------
    asked
        The parameters.
    given
        The arguments and the options that are no parameters: paths, addresses, sequences of them, or None.
    written
        Those of them that are written to.
    console
        Shows progress.
    only
        The parameters concerned (default: all).
    by_header
        The arguments of which the command reads no values: they are not fetched, but opened where they are.

    Yields
    ------
    The parameters and the arguments with local paths. What is written there is published when the command commits it.

    Raises
    ------
    SccrError
        A file cannot be fetched, or its address cannot be written to.
    """
    fields = {name: use for name, use in path_fields(type(asked)).items() if only is None or name in only}
    parameters = {name: getattr(asked, name) for name in fields}
    outputs = {*written, *(name for name, use in fields.items() if use == "written")}
    # A name stands for one path: no argument is called as a parameter is.
    wanted = {name: found for name, value in {**given, **parameters}.items() if (found := _addresses(value))}
    if not wanted:
        yield asked, dict(given)
        return
    force = bool(getattr(asked, "force", False))
    with stand_ins(console) as near, ExitStack() as opened:
        # What could not be written is refused before a long download.
        for name in wanted.keys() & outputs:
            for address in wanted[name]:
                near.outline(address)
        inputs = {name: wanted[name] for name in wanted.keys() - outputs}
        near.check_outputs([near.of(address) for found in inputs.values() for address in found], force=force)
        for name, found in inputs.items():
            for address in found:
                if name in by_header:
                    opened.enter_context(near.opened(address))
                else:
                    near.fetch(address)
        arguments = {name: _replaced(value, near.of) for name, value in given.items()}
        with delivering(partial(near.delivered, force=force)):
            yield (
                asked.model_copy(update={name: _replaced(value, near.of) for name, value in parameters.items()}),
                arguments,
            )


@contextmanager
def fetched(what: Path | Address) -> Iterator[Path]:
    """Yield a file's path on this machine, where it is fetched to for the time of the block if it is remote."""
    if isinstance(what, Path):
        yield what
        return
    with stand_ins() as near:
        yield near.fetch(what)


def _addresses(value: Any) -> list[Address]:
    """Return the remote addresses in a value of any shape that parameters have."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [address for item in value for address in _addresses(item)]
    if isinstance(value, Address):
        return [value]
    return [Address.of(value)] if isinstance(value, str) and is_remote(value) else []


def _replaced(value: Any, near: Callable[[Address], Path]) -> Any:
    """Return a value with local paths for remote addresses, in their types: text in parameters, paths in arguments."""
    if isinstance(value, Mapping):
        return {name: _replaced(item, near) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, near) for item in value)
    if isinstance(value, Address):
        return near(value)
    return str(near(Address.of(value))) if isinstance(value, str) and is_remote(value) else value
