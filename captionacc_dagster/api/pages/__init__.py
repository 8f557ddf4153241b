"""The review pages, where people approve layouts and check and correct captions in a browser."""
