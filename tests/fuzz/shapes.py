"""Good archives, discs and programs made bad where their formats have fields."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Sequence

from isobuilder.iso.read.rawiso import BLOCK
from tests.fuzz.mutation import (
    LARGEST,
    NUMBERS,
    WORDS,
    Chance,
    edited,
    edited_json,
    edited_text,
    encoded,
    times,
)

# --- several files in one case ---


def packed(files: dict[str, bytes]) -> bytes:
    """Return the bytes of a case that is several files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpacked(case: bytes) -> dict[str, bytes]:
    """Return the files of a case."""
    with tarfile.open(fileobj=io.BytesIO(case)) as tar:
        return {one.name: _content(tar, one) for one in tar.getmembers()}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


# --- tar ---

# Offset and size of each field of a ustar header. Source: POSIX.1, pax, "ustar Interchange Format".
_FIELDS: tuple[tuple[int, int], ...] = (
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (148, 8),
    (156, 1),
)
_FIELDS += ((157, 100), (257, 6), (263, 2), (265, 32), (297, 32), (329, 8), (337, 8), (345, 155))
_KINDS = b"0123456789xgLKSVMNDA\0 "
_OCTAL: tuple[bytes, ...] = (
    b"\x80" + bytes(11),
    b"\xff" * 12,
    b"77777777777\0",
    b"-1\0",
    b" 0 0\0",
    b"\x80" + b"\xff" * 11,
)
_PAX: tuple[bytes, ...] = (
    b"path=../x",
    b"size=0",
    b"size=99999999999",
    b"size=-1",
    b"linkpath=/",
    b"GNU.sparse.size=9",
)
_PAX += (b"path=", b"GNU.sparse.map=0,1", b"hdrcharset=BINARY", b"comment=\0", b"no equals", b"=x")


def edited_tar(data: bytes, chance: Chance) -> bytes:
    """Return an archive whose headers, members or order are other ones; most sums are right."""
    members = _members(data)
    if not members or chance.random() < 0.15:
        return edited(data, chance)
    end = bytes(1024)
    for _ in range(times(chance)):
        number = chance.randrange(len(members))
        header, body = members[number]
        match chance.randrange(9):
            case 0:
                members.insert(number, (header, body))
            case 1:
                members.append(members.pop(number))
            case 2:
                members[number] = header, edited(body or b"\0", chance)
            case 3:
                members.insert(number, _pax(chance))
            case 4:
                many = chance.choice((10, 1000, 4000))
                room = LARGEST // (len(header) + len(body))
                members[number:number] = [(header, body)] * min(many, room)
            case 5:
                end = chance.choice((b"", bytes(512), bytes(1024 + 7), bytes(1024) + b"x" * 512))
            case _:
                members[number] = _field(header, chance), body
    return b"".join(header + body for header, body in members)[:LARGEST] + end


def _members(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return header and body of each member; empty for what is no archive of ours."""
    found, at = list[tuple[bytes, bytes]](), 0
    while at + 512 <= len(data) and any(data[at : at + 512]):
        header = data[at : at + 512]
        text = header[124:136].strip(b" \0")
        if not text.isdigit():
            return []
        end = at + 512 + -(-int(text, 8) // 512) * 512
        found.append((header, data[at + 512 : end]))
        at = end
    return found


def _field(header: bytes, chance: Chance) -> bytes:
    changed = bytearray(header)
    at, size = chance.choice(_FIELDS)
    if at == 156:
        changed[at] = chance.choice(_KINDS)
    elif size in {8, 12} and chance.random() < 0.7:
        number = f"{chance.choice(NUMBERS):0{size - 1}o}"[-size + 1 :].encode() + b"\0"
        changed[at : at + size] = chance.choice((number, *_OCTAL)).ljust(size, b"\0")[:size]
    else:
        changed[at : at + size] = encoded(chance.choice(WORDS)).ljust(size, b"\0")[:size]
    if chance.random() < 0.9:
        changed[148:156] = b" " * 8
        changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def _pax(chance: Chance) -> tuple[bytes, bytes]:
    text = chance.choice(_PAX)
    record = b" " + text + b"\n"
    size = len(record) + len(str(len(record) + 1))
    said = chance.choice((size, size, size, 0, 1, 10**9, 10**30))
    body = (str(said).encode() + record) * chance.choice((1, 1, 2, 500))
    info = tarfile.TarInfo("x")
    info.type, info.size = chance.choice((b"x", b"g", b"L", b"K")), len(body)
    return info.tobuf(tarfile.USTAR_FORMAT), body.ljust(-(-len(body) // 512) * 512, b"\0")


def edited_gzip(data: bytes, chance: Chance, inner: bytes | None = None) -> bytes:
    """Return compressed data that is damaged, or well made of what is bad inside."""
    if inner is None or chance.random() < 0.4:
        return edited(data, chance)
    return gzip.compress(edited_tar(inner, chance), 1, mtime=0)


# --- ISO 9660 ---

_TAGS: tuple[bytes, ...] = (
    b"NM",
    b"PX",
    b"TF",
    b"SL",
    b"CE",
    b"ST",
    b"SP",
    b"ER",
    b"RR",
    b"PL",
    b"CL",
    b"RE",
    b"PN",
)
_TAGS += (b"SF", b"ZF", b"ES", b"PD", b"XX", b"\0\0")


def both(value: int) -> bytes:
    """Return a number of 32 bits as ISO 9660 writes it twice."""
    return struct.pack("<I", value % (1 << 32)) + struct.pack(">I", value % (1 << 32))


def records(image: bytes, root: int) -> list[int]:
    """Return where each directory record of the tree below the record at ``root`` begins."""
    found, folders, seen = [root], [root], set[int]()
    while folders and len(found) < 5000:
        at = folders.pop()
        block, size = struct.unpack_from("<I4xI", image, at + 2)
        if block in seen:
            continue
        seen.add(block)
        place, end = block * BLOCK, min(block * BLOCK + size, len(image) - 33)
        while place < end:
            if image[place] == 0:
                place = (place // BLOCK + 1) * BLOCK
                continue
            found.append(place)
            if image[place + 25] & 2 and image[place + 32 : place + 34] not in {b"\1\0", b"\1\1"}:
                folders.append(place)
            place += image[place]
    return found


def edited_iso(image: bytes, chance: Chance) -> bytes:
    """Return an image of which a descriptor, a record or a Rock Ridge field is another one."""
    changed = bytearray(image)
    roots = [16 * BLOCK + 156]
    roots += [n * BLOCK + 156 for n in range(17, 21) if changed[n * BLOCK] == 2]
    places = records(image, chance.choice(roots))
    for _ in range(times(chance)):
        match chance.randrange(10):
            case 0:
                at = chance.randrange(16, 24) * BLOCK + chance.choice(
                    (0, 1, 6, 80, 120, 128, 132, 140, 148, 158, 166, chance.randrange(200))
                )
                _put(changed, at, chance)
            case 1:
                _put(changed, chance.randrange(min(len(changed), 64 * BLOCK)), chance)
            case 2:
                one, two = chance.choice(places), chance.choice(places)
                size = min(changed[one], changed[two])
                changed[one : one + size] = changed[two : two + size]
            case 3:
                one, two = chance.choice(places), chance.choice(places)
                changed[one + 2 : one + 18] = changed[two + 2 : two + 18]
            case 4 | 5:
                at = chance.choice(places) + chance.choice(
                    (0, 1, 2, 10, 18, 25, 26, 27, 28, 32, 33)
                )
                _put(changed, at, chance)
            case 6:
                at = chance.choice((0, 446, 450, 462, 510, 512, 17 * BLOCK, len(changed) - BLOCK))
                _put(changed, at, chance)
            case _:
                _susp(changed, chance.choice(places), chance)
    if chance.random() < 0.05:
        return bytes(changed[: chance.randrange(len(changed))])
    return bytes(changed)


def _put(data: bytearray, at: int, chance: Chance) -> None:
    """Write a number of a size that records have, or a few bytes."""
    at %= max(len(data), 1)
    value = chance.choice((*NUMBERS, chance.randrange(400)))
    new = chance.choice(
        (
            both(value),
            struct.pack("<H", value % 65536) + struct.pack(">H", value % 65536),
            bytes([value % 256]),
            chance.randbytes(chance.choice((1, 2, 4))),
        )
    )
    data[at : at + len(new)] = new[: len(data) - at]


def _susp(data: bytearray, record: int, chance: Chance) -> None:
    """Change one System Use field of a record."""
    size, name = data[record], data[record + 32]
    at = record + 33 + name + (1 - name % 2)
    fields = []
    while at + 4 <= record + size and data[at + 2] >= 4:
        fields.append(at)
        at += data[at + 2]
    if not fields:
        return
    field = chance.choice(fields)
    match chance.randrange(5):
        case 0:
            data[field : field + 2] = chance.choice(_TAGS)
        case 1:
            data[field + 2] = chance.choice((0, 3, 4, 5, 8, 28, 255, data[field + 2] + 1 & 255))
        case 2:
            data[field + 4] = chance.choice((1, 2, 4, 0x20, 0x80, 255))
        case 3:
            _put(data, field + chance.randrange(4, max(data[field + 2], 5)), chance)
        case _:
            other = chance.choice(fields)
            data[field : field + 4] = data[other : other + 4]


# --- what firmware reads ---


def edited_regions(image: bytes, chance: Chance, regions: Sequence[tuple[int, int]]) -> bytes:
    """Return ``image`` changed within ``regions`` (first byte, bytes); GPT's sums are mended."""
    changed = bytearray(image)
    for _ in range(times(chance)):
        at, size = chance.choice(regions)
        _put(changed, at + chance.randrange(size), chance)
    if chance.random() < 0.7:
        _mend_gpt(changed)
    return bytes(changed)


def _mend_gpt(image: bytearray) -> None:
    # UEFI 2.10, 5.3.2: the sum of the header is at 16, that of the entries at 88.
    for at in (512, len(image) - 512):
        if image[at : at + 8] != b"EFI PART":
            continue
        first, count, size = struct.unpack_from("<QII", image, at + 72)
        if count * size < 1 << 20 and first * 512 + count * size <= len(image):
            entries = bytes(image[first * 512 : first * 512 + count * size])
            struct.pack_into("<I", image, at + 88, zlib.crc32(entries))
        struct.pack_into("<I", image, at + 16, 0)
        struct.pack_into("<I", image, at + 16, zlib.crc32(bytes(image[at : at + 92])))


def edited_elf(data: bytes, chance: Chance) -> bytes:
    """Return a program whose headers or whose notes of the Go linker are other ones."""
    found = data.find(b"\xff Go buildinf:")
    headers = [(0, 64), (64, 56 * 4), (max(len(data) - 64 * 8, 0), 64 * 8)]
    notes = [(max(found, 0), 64), (max(found, 0), 600)]
    if chance.random() < 0.2:
        return edited(data, chance)
    return edited_regions(data, chance, [*headers, *notes])


def edited_file(path: str, data: bytes, chance: Chance) -> bytes:
    """Return a file of an ISO changed as its kind can be."""
    if path.endswith(".json"):
        return edited_json(json.loads(data), chance)
    if path.endswith(".tar"):
        return edited_tar(data, chance)
    if path.endswith((".tgz", ".gz")):
        return edited_gzip(data, chance)
    if data[:4] == b"\x7fELF":
        return edited_elf(data, chance)
    if path.endswith((".yaml", ".service", ".list", ".cfg", "SUMS")):
        return edited_text(data, chance)
    return edited(data, chance)
