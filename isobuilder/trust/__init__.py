"""What an auditor asks for: a bill of materials of the ISO."""
