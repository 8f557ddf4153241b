"""Find when captions begin and end, to the frame, and what they say."""
