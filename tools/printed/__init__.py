"""What ``--json`` prints, for each command: its schema, from which the reference is made."""
