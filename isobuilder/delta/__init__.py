"""Formats of differences: what turns bytes that somebody has into other bytes; knows no ISO."""
