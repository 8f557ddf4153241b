"""The glyph mask network: made-up windows of captions, training, export and its score."""
