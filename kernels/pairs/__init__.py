"""Distance of one pair of rows: the definition, and a fast sum with a proven error bound."""
