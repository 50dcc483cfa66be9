"""What people look at: one page about an ISO or a lock, and a site of many."""
