"""Pipelines that live in an environment of their own: described by a worker, never imported by the host."""
