"""The kinds of text in a layout: drawn videos, and the training and score of the network that tells them apart."""
