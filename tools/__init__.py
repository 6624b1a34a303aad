"""Tools that run from a checkout and are not in the wheel: the writer of the derived files, and the demonstration."""
