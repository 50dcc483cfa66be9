"""The Mold node that mounts the ISO, played: one rule, one function, one id."""
