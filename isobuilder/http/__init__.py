"""The only opener of outgoing connections: redirects, retries, rates, redaction; and a server.

Each part is imported from its own module: who serves needs nothing of what asks.
"""
