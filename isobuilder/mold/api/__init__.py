"""Talking to the management server: signed calls, typed answers, honest failures."""
