"""Worker processes, warm and fenced in."""
