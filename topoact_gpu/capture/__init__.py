"""Capture: activations of any PyTorch model on any inputs, as blocks of rows.

`models` loads a network with the preprocessing it was made for, `layers` hooks it, `outputs` and
`receptive` say what its numbers mean. `inputs` opens images and texts, `tokens` and `sampling` say
which rows are taken, `blocks` runs all of it. Nothing here knows how rows are stored, and torch
loads only when a function is called.
"""
