"""Blueprints: sets of virtual elements, checked against their SOP class."""
