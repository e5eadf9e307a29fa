"""Delivery: from the outbox to peers and folders."""
