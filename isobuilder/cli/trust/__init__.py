"""What an auditor asks: who says so, what is inside, and proofs that need nobody."""
