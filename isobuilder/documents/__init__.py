"""Texts that people write, and where everything in them stands; not what it means."""
