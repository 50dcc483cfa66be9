"""A simulator of the part of Mold's API that registering ISOs needs. Not a Mold.

It keeps everything in memory, verifies signatures, really downloads what is registered and checks
its checksum. ``listCapabilities`` says ``simulator: true`` so that nobody mistakes it for a server.
"""

from isobuilder.demo.mold.cloud import Cloud, CloudCluster, CloudUser, Host, Timing, Zone
from isobuilder.demo.mold.server import Simulator

__all__ = ["Cloud", "CloudCluster", "CloudUser", "Host", "Simulator", "Timing", "Zone"]
