"""The HTML report on an imputation, and the same numbers for MultiQC.

In Python, ``sccr_node.report(adata)`` returns the page for an AnnData object: :func:`sccr_node.api.report`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A package that can be called: this one.

    Importing the package makes it the attribute ``report`` of ``sccr_node``, in place of whatever stood there: a
    function of that name would be gone as soon as a report was written.
    """

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Write the report on an AnnData object: see :func:`sccr_node.api.report`."""
        # By name: packages do not import what lies above them, and this one only passes on what users ask for.
        return import_module("sccr_node.api").report(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallablePackage
