"""Other people's formats, one bounded reader each: bytes in, frozen values out."""
