"""The glyph mask network: synthetic windows of captions, training, export, and score."""
