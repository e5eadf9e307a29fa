"""``python -m dicomnode.cli`` is ``dicomnode-host``."""

from . import main

main()
