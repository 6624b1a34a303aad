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
    *others, last = (store.suffix for store in FORMATS)
    extensions = f"{', '.join(others)} or {last}"
    raise UsageProblem(f"cannot write {path}: unknown format; use the extension {extensions}")
