"""Small Linux programs made by hand: real headers, Go's build information, no code."""

from __future__ import annotations

import struct
from typing import Literal

from isobuilder.demo.programs import elf, inline_info, segment

SENTINEL = bytes(range(16))
_INTERPRETER, _STACK = 3, 0x6474E551  # kinds of program headers


def pointer_info(go: bytes, module: bytes, address: int) -> bytes:
    """Return build information at ``address`` as Go wrote it before 1.18."""
    strings = address + 32
    text = strings + 32
    head = b"\xff Go buildinf:" + bytes([8, 0]) + struct.pack("<QQ", strings, strings + 16)
    return head + struct.pack("<QQQQ", text, len(go), text + len(go), len(module)) + go + module


def program(
    architecture: str = "amd64",
    *,
    version: str | None = "1.34.12",
    lines: tuple[str, ...] = ("path\tk8s.io/kubernetes/cmd/kubeadm", "build\t-trimpath=true"),
    form: Literal["inline", "pointer"] = "inline",
    go: str = "go1.24.6",
    sections: bool = True,
    dynamic: bool = False,
    rodata: bytes = b"",
) -> bytes:
    """Return a program that says it is Kubernetes ``version``, stamped as the Go linker does."""
    stamp = f"v{version}\0".encode() * 2 if version else b""
    read_only = b"plain text v9.9.9 of the source" + bytes(9) + rodata + b"\0" + stamp + b"\x10'\0"
    text = "".join(line + "\n" for line in lines).encode()
    module = SENTINEL + text + SENTINEL if lines else b""

    def info(address: int) -> bytes:
        if form == "pointer":
            return pointer_info(go.encode(), module, address)
        return inline_info(go.encode(), module)

    third = segment(_INTERPRETER if dynamic else _STACK, 4, 0, 0, 0)
    made = bytearray(elf(architecture, read_only, info, name=b".rodata", flags=4, more=[third]))
    if not sections:
        (table_at,) = struct.unpack_from("<Q", made, 40)
        struct.pack_into("<Q", made, 40, 0)
        struct.pack_into("<HH", made, 60, 0, 0)
        del made[table_at:]
    return bytes(made)
