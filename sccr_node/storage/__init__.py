"""Stores and files: appended to without touching what is there, written whole or not at all."""
