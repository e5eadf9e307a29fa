"""Floor 2: what a plugin author subclasses."""
