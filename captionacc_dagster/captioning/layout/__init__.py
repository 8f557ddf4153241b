"""Find where captions appear in a video."""
