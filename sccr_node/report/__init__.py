"""The HTML report on an imputation, and the same numbers for MultiQC."""
