"""The benchmark: generated clips with exact truth, the engine and a naive baseline measured on them."""
