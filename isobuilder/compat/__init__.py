"""Files of other builders, taken over."""
