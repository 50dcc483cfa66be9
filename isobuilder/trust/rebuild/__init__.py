"""Upstream's programs made again from public source, and compared bit for bit."""
