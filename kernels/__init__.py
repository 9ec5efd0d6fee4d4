"""Kernels: plain arrays in, plain arrays out; each beside a naive reference."""
