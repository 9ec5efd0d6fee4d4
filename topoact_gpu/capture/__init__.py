"""Activations of any PyTorch model on any data, as blocks of rows."""
