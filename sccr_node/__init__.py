"""scCR imputation of single-cell RNA-seq as a workflow step: the public Python API."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sccr_node.api import impute, report, tune

__version__ = "0.1.0"

__all__ = ["__version__", "impute", "report", "tune"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line must start without loading anndata and scipy.
    if name in ("impute", "report", "tune"):
        from sccr_node import api

        return getattr(api, name)
    raise AttributeError(f"module 'sccr_node' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
