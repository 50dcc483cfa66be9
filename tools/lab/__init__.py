"""Real parts for the tests that want them: see README.md in this directory."""
