"""Whose signatures are expected, and what was found of them when an ISO was locked."""
