"""The review page: where people look at videos, approve layouts, and check and correct captions in a browser."""
