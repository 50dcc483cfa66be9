"""What is installed: the databases and files by which packages are told, one reader each."""
