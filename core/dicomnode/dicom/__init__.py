"""Floor 1: DICOM objects. Knows no network and no host."""

import lazy_loader

# So that ``from dicomnode import blueprints`` works and costs nothing until one is used.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, ["blueprints"])
