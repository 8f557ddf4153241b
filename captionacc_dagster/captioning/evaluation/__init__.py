"""Compare a caption track with the ground truth."""
