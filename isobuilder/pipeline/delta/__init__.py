"""Deltas of ISOs: made from two, applied to what a site has."""
