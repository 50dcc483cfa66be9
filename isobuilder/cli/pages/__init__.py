"""Pages that people look at: of one ISO, and of many."""
