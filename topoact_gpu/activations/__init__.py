"""Capture: activations of any PyTorch model on any inputs, as blocks of rows.

`models` loads a network with the preprocessing it was made for, `layers` hooks it, `outputs` and
`receptive` say what its numbers mean, the latter by `probing` the network, `edges` and `boxes`;
`patches` finds the places of tokens in an image, and `geometry` leads from the preprocessed image
back to the picture. `inputs` opens images and texts; `plan` holds everything that decides what the
rows are; `tokens`, `sampling` and `layer_rows` take them from a forward; `blocks` runs all of it.
Nothing here knows how rows are stored, and torch loads only when a function is called.
"""
