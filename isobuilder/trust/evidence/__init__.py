"""Evidence of who signed what, proved without a network."""
