"""The machine that mounts the ISO: its contract and the files made for it."""
