"""Fixtures of the tests of plugins."""

from plugin_packages import plugins

__all__ = ["plugins"]
