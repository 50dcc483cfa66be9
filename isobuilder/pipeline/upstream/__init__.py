"""Follow upstream: compare what it has with what we have, and propose recipes for what is new."""
