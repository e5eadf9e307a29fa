"""Floor 1: DICOM objects. Knows no network and no host."""
