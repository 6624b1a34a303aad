"""All formats: every file in this folder that declares one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from sccr_node.errors import UsageProblem
from sccr_node.storage.store import StoreFormat

_HERE = Path(__file__).parent


def _declared() -> tuple[StoreFormat, ...]:
    names = sorted(module.name for module in iter_modules([str(_HERE)]) if module.name != Path(__file__).stem)
    modules = [import_module(f"{__package__}.{name}") for name in names]
    found = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return tuple(sorted(found, key=lambda store: -store.precedence))


FORMATS = _declared()


def format_of_output(path: Path) -> StoreFormat:
    """Return the format of an output, given by its extension.

    Raises
    ------
    UsageProblem
        It has a different extension.
    """
    for store in FORMATS:
        if path.suffix == store.suffix:
            return store
    raise UsageProblem(f"cannot write {path}: unknown format; use the extension {_extensions()}")


def format_of_copy(path: Path, source: StoreFormat | None) -> StoreFormat:
    """Return the format of an output that an input in a format is copied to: the same one if it has its extension.

    Raises
    ------
    UsageProblem
        It has the extension of no format, or of one that requires another input.
    """
    store = format_of_output(path)
    if source is not None and source.name == store.name:
        return source
    if store.only_from_itself:
        raise UsageProblem(
            f"cannot write {path}: {store.suffix} requires an input in this format; use the extension {_extensions()}"
        )
    return store


def _extensions() -> str:
    *others, last = (store.suffix for store in FORMATS if not store.only_from_itself)
    return f"{', '.join(others)} or {last}"
