"""The peer that receives: the one that the demonstration uses."""

from ..cli.loopback import ReceivingPeer

__all__ = ["ReceivingPeer"]
