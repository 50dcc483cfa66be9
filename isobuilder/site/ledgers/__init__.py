"""What a site holds, on paper: the text, its signature, its code, and what is remembered of it."""
