"""Stores and files: appended to without touching existing content, written whole or not at all."""
