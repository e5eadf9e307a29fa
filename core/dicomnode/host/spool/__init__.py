"""The spool: received files, durable, under digest names."""
