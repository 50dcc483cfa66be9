"""``isobuilder site``: one file for each command."""
