"""Read and write the files of a video: subtitles, databases, WebM chunks."""
