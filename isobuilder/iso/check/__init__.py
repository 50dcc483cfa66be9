"""What is wrong with an ISO, found from its bytes alone."""
