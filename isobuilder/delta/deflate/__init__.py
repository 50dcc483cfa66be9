"""gzip files rebuilt bit for bit from what they unpack to: who compressed them, and how."""
