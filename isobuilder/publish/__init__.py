"""Where finished ISOs are put for servers to fetch them."""
