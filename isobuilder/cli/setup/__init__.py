"""What a person sets up: settings, this machine, manual pages."""
