"""Lock and blobs -> what an ISO of that lock contains. Pure."""
