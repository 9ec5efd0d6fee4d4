"""Exact distances to the nearest neighbours of some rows among others."""
