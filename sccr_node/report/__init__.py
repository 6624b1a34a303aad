"""One page that shows what an imputation did, and the same numbers for MultiQC."""
