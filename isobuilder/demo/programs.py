"""Stand-ins for programs: valid Linux programs of a few hundred bytes that print one text.

They carry what a real one tells about itself, the processor in the ELF header and Go's build
information, and the build tag ``stand_in``. Formats: System V ABI (ELF-64), Go's
``debug/buildinfo`` with inline strings.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

_BASE = 0x400000
_PAGE = 0x10000  # arm64 kernels may use pages of 64 KiB
_DATA = _BASE + 0x100000  # where the writable segment lies in memory
_MACHINES = {"amd64": 62, "arm64": 183}
# Go's linker puts these around the module text; readers check for them and cut them off.
_BEFORE = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
_AFTER = bytes.fromhex("f932433186182072008242104116d8f2")
_RUN, _CHANGE, _READ = 1, 2, 4  # of segments
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4  # of sections
_PROGBITS, _STRTAB = 1, 3


def program(
    architecture: str,
    *,
    prints: str,
    package: str,
    settings: Sequence[tuple[str, str]] = (),
    module_version: str = "(devel)",
    go: str = "go1.24.6",
) -> bytes:
    """Return a static program that prints ``prints`` and ends with 0.

    ``package`` is that of func main, such as ``k8s.io/kubernetes/cmd/kubeadm``; ``settings`` are
    further build settings.
    """
    module = "/".join(package.split("/")[: 3 if package.startswith("github.com/") else 2])
    lines = [f"path\t{package}", f"mod\t{module}\t{module_version}"]
    lines += ["dep\tgolang.org/x/sys\tv0.31.0\th1:ioabZlmFYtWhL+TRYpcnNlLwhyxaM9kWTDEmfnprqik="]
    lines += ["build\t-buildmode=exe", "build\t-compiler=gc", "build\t-tags=stand_in"]
    lines += [f"build\t{key}={_quoted(value)}" for key, value in settings]
    lines += ["build\tCGO_ENABLED=0", f"build\tGOARCH={architecture}", "build\tGOOS=linux"]
    text = "".join(f"{line}\n" for line in lines).encode()
    info = inline_info(go.encode(), _BEFORE + text + _AFTER)
    return elf(architecture, _code(architecture, prints.encode()), lambda _address: info)


def elf_stand_in(version: str, architecture: str, *, name: str, prints: str | None = None) -> bytes:
    """Return a stand-in for ``kubeadm``, ``kubelet`` or ``kubectl`` of a Kubernetes version."""
    flags = f"-X k8s.io/component-base/version.gitVersion=v{version}"
    return program(
        architecture,
        prints=f"Kubernetes v{version}, a stand-in\n" if prints is None else prints,
        package=f"k8s.io/kubernetes/cmd/{name}",
        settings=[("-ldflags", flags)],
    )


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value


def inline_info(go: bytes, module: bytes) -> bytes:
    """Return Go's build information with its two strings in place."""
    head = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16)
    # Go's own reader wants at least one byte behind the last string.
    return head + _uvarint(len(go)) + go + _uvarint(len(module)) + module + bytes(16)


def _uvarint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def elf(
    architecture: str,
    content: bytes,
    build_info: Callable[[int], bytes],
    *,
    name: bytes = b".text",
    flags: int = _READ | _RUN,
    more: Sequence[bytes] = (),
) -> bytes:
    """Return a program of ``content``, where it begins, and Go's build information.

    ``build_info`` is given the address at which its answer will be; ``name`` and ``flags`` are
    those of the content's section and segment, ``more`` has further program headers.
    """
    content_at = 64 + (2 + len(more)) * 56
    info_at = -(-(content_at + len(content)) // 16) * 16
    info = build_info(_DATA + info_at)
    names = b"\0" + name + b"\0.go.buildinfo\0.shstrtab\0"
    names_at = info_at + len(info)
    table_at = -(-(names_at + len(names)) // 8) * 8
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        *(2, _MACHINES[architecture], 1, _BASE + content_at),
        *(64, table_at, 0, 64, 56, 2 + len(more), 64, 4, 3),
    )
    segments = segment(1, flags, 0, _BASE, content_at + len(content))
    segments += segment(1, _READ | _CHANGE, info_at, _DATA + info_at, len(info))
    kind = _ALLOC | (_EXECUTE if flags & _RUN else 0)
    rows = [
        (name, _PROGBITS, kind, _BASE + content_at, content_at, len(content)),
        (b".go.buildinfo", _PROGBITS, _ALLOC | _WRITE, _DATA + info_at, info_at, len(info)),
        (b".shstrtab", _STRTAB, 0, 0, names_at, len(names)),
    ]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", names.index(row[0]), *row[1:], 0, 0, 16, 0) for row in rows
    )
    body = (header + segments + b"".join(more) + content).ljust(info_at, b"\0") + info + names
    return body.ljust(table_at, b"\0") + bytes(64) + table


def segment(kind: int, flags: int, offset: int, address: int, size: int) -> bytes:
    """Return a program header."""
    return struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, size, _PAGE)


def _code(architecture: str, text: bytes) -> bytes:
    """Return machine code for write(1, text) and exit(0), with the text behind it."""
    if architecture == "amd64":
        size = 33
        write = b"\xb8\x01\0\0\0\xbf\x01\0\0\0"  # mov eax, 1; mov edi, 1
        write += b"\x48\x8d\x35" + struct.pack("<i", size - 17)  # lea rsi, [rip + distance]
        write += b"\xba" + struct.pack("<I", len(text)) + b"\x0f\x05"  # mov edx, size; syscall
        return write + b"\xb8\x3c\0\0\0\x31\xff\x0f\x05" + text  # mov eax, 60; xor edi, edi
    distance = 7 * 4  # from the second instruction to the text
    words = (
        0xD2800020,  # mov x0, 1
        0x10000001 | (distance >> 2) << 5,  # adr x1, text
        0xD2800002 | (len(text) & 0xFFFF) << 5,  # mov x2, size
        0xD2800808,  # mov x8, 64
        0xD4000001,  # svc 0
        0xD2800000,  # mov x0, 0
        0xD2800BA8,  # mov x8, 93
        0xD4000001,  # svc 0
    )
    return struct.pack("<8I", *words) + text
