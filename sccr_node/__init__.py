"""scCR imputation of single-cell RNA-seq as a workflow step: the public Python API."""

__version__ = "0.1.0"
