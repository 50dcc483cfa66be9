"""Bundles: what is carried to a site, how it is cut, written, read and proved."""
