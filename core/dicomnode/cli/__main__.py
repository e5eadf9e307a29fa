"""``python -m dicomnode.cli`` is ``dicomnode-host``."""

from dicomnode.cli import main

main()
