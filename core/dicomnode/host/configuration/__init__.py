"""The configuration, and the pipelines as configured."""
