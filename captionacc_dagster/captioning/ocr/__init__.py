"""OCR engines: find lines of text in a picture and read them."""
