"""What keeps a node in order: recovery at the start, retention, checksums, the quarantine."""
