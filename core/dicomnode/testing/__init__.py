"""Top floor: what a plugin author tests with. A pytest plugin; the host never imports it.

Synthetic images, a pipeline run without network, a host in a temporary directory, a peer that receives, and
faults on request. The fixtures are in :mod:`dicomnode.testing.fixtures`, which pytest finds by itself where
dicomnode-host is installed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
