"""Entries -> ISO, the same bytes every time."""
