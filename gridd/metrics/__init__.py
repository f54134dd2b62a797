"""What a grid counts and measures of itself, and the Prometheus pages that show it."""
