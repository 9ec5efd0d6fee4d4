"""Int8 copies of rows, packed for the tile product, with what the rounding lost."""
