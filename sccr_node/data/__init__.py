"""Data sets: opened, checked, prepared, copied, split."""
