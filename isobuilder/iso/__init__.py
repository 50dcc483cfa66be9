"""The ISO 9660 format: what goes where, writing it and reading it."""
