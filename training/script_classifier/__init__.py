"""Trains the classifier that tells the script of a line of text (``captioning/ocr/script_classifier.py``)."""
