"""One page that shows what an imputation did, and the same numbers for MultiQC."""

from __future__ import annotations

from typing import Any

__all__ = [
    "compose_multiqc",
    "compose_report",
    "multiqc_target",
    "read_record",
    "write_multiqc",
    "write_multiqc_files",
    "write_report",
]


def __getattr__(name: str) -> Any:
    # Lazily: the command line imports this package to build its help, and pandas takes half a second.
    if name in __all__:
        from sccr_node.report import writing

        return getattr(writing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
