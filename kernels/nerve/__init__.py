"""Nerve kernels: which nodes share rows."""
