"""Cover kernels: which rows lie in which elements of a (product) cover."""
