"""Receiving: from the socket to a readable data set in the spool."""
