"""What a GPU gains: OCR on CUDA, decoding on NVDEC, and a whole pass over a video."""
