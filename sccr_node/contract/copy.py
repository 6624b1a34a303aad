"""The parameters of ``sccr copy``."""

from __future__ import annotations

from sccr_node.contract.shared import WritingParameters


class CopyParameters(WritingParameters):
    """Parameters of ``sccr copy``."""
