"""Named blobs that are the objects of a remote folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from sccr_node.errors import SccrError
from sccr_node.runtime.scratch import in_scratch, scratch_dir
from sccr_node.storage.atomic import staged
from sccr_node.storage.places.transfer import Place


class RemoteBlobs:
    """Blobs that are objects of a remote folder.

    Parameters
    ----------
    place
        The folder.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def __str__(self) -> str:
        """Return the address."""
        return str(self._place.address)

    def prepare(self) -> None:
        """See whether the folder can be read; it comes into being with the first blob.

        Raises
        ------
        InputMissing, NotEnoughResources
            It cannot be read; the store cannot be reached.
        """
        self._place.names("sccr-")

    def free(self) -> int | None:
        """Return None: an object store has no end that anybody knows."""
        return None

    def names(self, prefix: str) -> list[str]:
        """Return the names of the objects that begin so; none if they cannot be listed."""
        with suppress(SccrError):
            return self._place.names(prefix)
        return []

    @contextmanager
    def read(self, name: str) -> Iterator[BinaryIO]:
        """Fetch an object to scratch, and open it there.

        Raises
        ------
        InputMissing, NotEnoughResources
            There is no such object; the store cannot be reached, or there is too little scratch.
        """
        with staged(scratch_dir() / "sccr-checkpoint", replace=False, folder=True) as private:
            private.path.chmod(0o700)
            path = private.path / "blob"
            self._place.inside(name).fetch(path)
            with in_scratch():
                file = path.open("rb", buffering=0)
            with file:
                yield file

    def write(self, name: str, parts: Iterable[memoryview]) -> None:
        """Write an object, which replaces an older one.

        Raises
        ------
        OutputProblem, NotEnoughResources
            Writing is refused; the store cannot be reached.
        """
        self._place.inside(name).write(parts)

    def remove(self, name: str) -> None:
        """Delete an object; quietly if that is not possible."""
        with suppress(SccrError):
            self._place.inside(name).remove()

    def sweep(self, prefix: str) -> None:
        """Do nothing: what a killed process sent is unseen, and removed when the blob is written again."""

    def close(self) -> None:
        """Do nothing: a folder without objects does not exist."""
