"""Jobs: made, scheduled, done."""
