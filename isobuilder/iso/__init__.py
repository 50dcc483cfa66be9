"""ISO 9660 and what starts from it: sectors, no locks."""
