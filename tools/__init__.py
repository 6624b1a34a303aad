"""What is run from a checkout and is not in the wheel: the writer of the derived files, and the demonstration."""
