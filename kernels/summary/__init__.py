"""Summary kernels: classes, columns and mean rows of groups of rows, and the odds of a count."""
