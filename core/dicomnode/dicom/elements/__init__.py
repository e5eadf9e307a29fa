"""Virtual elements: one tag of a blueprint each."""
