"""What upstream has released: markers, releases, schedule and module index, each read once."""
