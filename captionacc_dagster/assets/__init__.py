"""What exists for a video: one module a stage, in the order of the stages."""
