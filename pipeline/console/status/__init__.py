"""What became of touches."""
