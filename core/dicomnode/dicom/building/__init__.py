"""Headers, factories and the encoding of results."""
