"""The HTML pages on an imputation, on tuning and on a benchmark, and the same numbers for MultiQC and as a table."""
