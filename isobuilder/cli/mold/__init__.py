"""``isobuilder mold``: one file for each group of commands."""
