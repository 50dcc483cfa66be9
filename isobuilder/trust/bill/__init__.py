"""The bill of materials with depth: what is inside of every image and program, from one model."""
