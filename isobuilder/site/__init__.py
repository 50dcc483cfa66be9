"""The site without Internet: what is carried there, counted, checked, served and mended."""
