"""Data sets: opened, looked at, prepared, copied, divided."""
