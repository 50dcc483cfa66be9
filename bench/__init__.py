"""The product measured side by side with the programs people use today."""
