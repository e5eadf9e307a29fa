"""The peer that receives: the one that the demonstration uses."""

from dicomnode.cli.loopback import ReceivingPeer

__all__ = ["ReceivingPeer"]
