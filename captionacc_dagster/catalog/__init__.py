"""What is known of the videos."""
