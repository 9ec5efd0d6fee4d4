"""Kernels: one folder per operation, plain arrays in and out; ``reference.py`` is the naive truth."""
