"""An embedded upstream with small stand-in content, for the demo and for tests."""
