"""Small Linux programs made by hand: real headers, Go's build information, no code."""

from __future__ import annotations

import struct
from typing import Literal

MACHINES = {"amd64": 62, "arm64": 183}
BASE = 0x400000
SENTINEL = bytes(range(16))


def module_text(lines: tuple[str, ...]) -> bytes:
    return SENTINEL + "".join(line + "\n" for line in lines).encode() + SENTINEL if lines else b""


def uvarint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def build_info(
    go: str, lines: tuple[str, ...], form: Literal["inline", "pointer"], address: int
) -> bytes:
    """Return the .go.buildinfo section as it is at ``address``."""
    module = module_text(lines)
    if form == "inline":
        head = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16)
        return head + uvarint(len(go)) + go.encode() + uvarint(len(module)) + module
    strings = address + 32
    text = strings + 32
    head = b"\xff Go buildinf:" + bytes([8, 0]) + struct.pack("<QQ", strings, strings + 16)
    return (
        head
        + struct.pack("<QQQQ", text, len(go), text + len(go), len(module))
        + go.encode()
        + module
    )


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
    headers = 64 + 56 * 3
    read_only_at = headers
    info_at = -(-(read_only_at + len(read_only)) // 16) * 16
    info = build_info(go, lines, form, BASE + info_at)
    names = b"\0.rodata\0.go.buildinfo\0.shstrtab\0"
    names_at = info_at + len(info)
    table_at = -(-(names_at + len(names)) // 8) * 8

    def segment(kind: int, flags: int, at: int, size: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, flags, at, BASE + at, BASE + at, size, size, 0x1000)

    def section(name: int, kind: int, at: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", name, kind, 2, BASE + at, at, size, 0, 0, 1, 0)

    table = b"".join(
        [
            section(0, 0, 0, 0),
            section(1, 1, read_only_at, len(read_only)),
            section(9, 1, info_at, len(info)),
            section(23, 3, names_at, len(names)),
        ]
    )
    count = 4 if sections else 0
    head = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH",
        *(2, MACHINES[architecture], 1, BASE, 64, table_at if sections else 0),
        *(0, 64, 56, 3, 64, count, 3 if sections else 0),
    )
    body = head + segment(1, 4, 0, read_only_at + len(read_only))
    body += segment(1, 6, info_at, len(info))
    body += segment(3 if dynamic else 0x6474E551, 4, 0, 0)
    body = (body + read_only).ljust(info_at, b"\0") + info + names
    return body.ljust(table_at, b"\0") + table if sections else body
