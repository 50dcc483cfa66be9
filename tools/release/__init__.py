"""What a release of isobuilder itself consists of."""
