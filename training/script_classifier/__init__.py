"""Trains the classifier that tells the script of a line of text (``captionacc_dagster/captioning/ocr/scripts.py``)."""
