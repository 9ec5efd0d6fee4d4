"""Feature kernels: spanning trees, cycles, and what a graph falls into without a node."""
