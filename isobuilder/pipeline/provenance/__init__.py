"""Who made an ISO and its programs: signatures beside it, builds once more."""
