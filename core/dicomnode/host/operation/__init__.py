"""What an operator sees and does; start, recovery, retention."""
