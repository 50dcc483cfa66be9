"""ISO -> files, with code that shares nothing with the writer."""
