"""The order of the steps, and nothing else: each step lives in a room of its own."""
