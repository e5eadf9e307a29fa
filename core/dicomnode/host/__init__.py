"""Floor 4: the running node, one file a station of the route."""
