"""What is rendered when it is locked: by which program, of which files."""
