"""One number a row: norms and simple statistics."""
