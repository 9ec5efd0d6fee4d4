"""Node kernels: labels of each element to memberships, and lens statistics of each node."""
