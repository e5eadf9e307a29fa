"""Trees of images."""
