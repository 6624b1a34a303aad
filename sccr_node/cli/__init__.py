"""The command line: one file per command, its options derived from the contract."""
