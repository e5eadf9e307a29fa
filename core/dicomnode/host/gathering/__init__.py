"""Gathering: which pipeline, whose image, complete or not."""
