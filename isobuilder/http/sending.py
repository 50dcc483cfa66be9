"""Parts of files that the kernel sends: no byte of them passes through this process."""

from __future__ import annotations

import os
import socket
import struct


def let_the_kernel_wait(peer: socket.socket, seconds: float) -> None:
    """Let ``send_file`` wait up to ``seconds`` for the other side: cheaper than polling."""
    if peer.gettimeout() is None:
        return
    pause = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pause)
    peer.settimeout(None)


def send_file(peer: socket.socket, descriptor: int, at: int, count: int) -> int | None:
    """Send bytes of a file and return how many went: fewer than ``count`` on a slow line.

    None: the kernel waited, and not a byte went. 0: the file ends before ``at``.
    """
    try:
        return os.sendfile(peer.fileno(), descriptor, at, count)
    except BlockingIOError:
        return None
