"""Places: where files can be other than on this machine, one class per kind behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sccr_node.storage.places.address import Address, is_remote

if TYPE_CHECKING:
    from sccr_node.storage.places.transfer import Place

__all__ = ["is_remote", "place"]


def place(address: str | Address) -> Place:
    """Return the place with an address; its store is not asked for anything yet.

    Raises
    ------
    UsageProblem
        It is not the address of a file.
    """
    from sccr_node.storage.places.transfer import Place  # only now: the command line asks what is remote

    found = address if isinstance(address, Address) else Address.of(address)
    return Place(found)
