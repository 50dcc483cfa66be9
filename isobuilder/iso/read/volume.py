"""Volume descriptors: where an ISO says what it is and where its trees begin.

One tree, one Joliet tree and one boot record at most: with more, readers differ in which they take.
The enhanced volume that genisoimage writes at level 4 is the one tree again, or it is refused.

Sources: ECMA-119 (ISO 9660), 8, and 8.5 for enhanced volumes, which Linux passes over; Joliet
specification; El Torito 1.0 for the boot record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from isobuilder.iso.read.rawiso import BLOCK, Extent, RawIso, both_endian

_FIRST = 16  # the first sector of the descriptors
_MOST = 64  # descriptors; real ISOs have three to five
_ENHANCED = 2  # version of the descriptor, and of what is in it
_JOLIET_ESCAPES = (b"%/@", b"%/C", b"%/E")  # UCS-2 levels 1, 2 and 3


@dataclass(frozen=True, slots=True)
class IsoVolume:
    """One tree of the ISO."""

    offset: int  # of its descriptor
    joliet: bool
    label: str
    blocks: int  # of the whole volume, each BLOCK bytes
    root: Extent
    path_tables: tuple[Extent, Extent]  # little and big byte order


@dataclass(frozen=True, slots=True)
class IsoVolumes:
    """All descriptors of an image."""

    primary: IsoVolume
    joliet: IsoVolume | None
    boot: bool  # there is a boot record
    enhanced: bool  # the primary's tree is there a second time, as an enhanced volume
    area: Extent  # of the descriptors themselves


def read_volumes(image: RawIso) -> IsoVolumes:
    """Return what the descriptors of ``image`` say.

    Raises:
        IntegrityError: it is not an ISO 9660 image, or its descriptors contradict themselves.
    """
    primary = joliet = None
    boot = enhanced = False
    for number in range(_MOST):
        offset = (_FIRST + number) * BLOCK
        if offset + BLOCK > image.size:
            what = "not an ISO 9660 image" if number == 0 else "no end of the volume descriptors"
            raise image.wrong(offset, f"{what}: the file has only {image.size} bytes")
        data = image.read(Extent(offset, BLOCK), "volume descriptor")
        if data[1:6] != b"CD001":
            what = "not an ISO 9660 image" if number == 0 else "not a volume descriptor"
            raise image.wrong(offset + 1, f"{what}: expected b'CD001', got {data[1:6]!r}")
        kind = data[0]
        if data[6] != 1 and (kind, data[6]) != (2, _ENHANCED):
            raise image.wrong(offset + 6, f"a volume descriptor of version {data[6]}")
        if kind == 255:
            if primary is None:
                raise image.wrong(offset, "no primary volume descriptor")
            if any(data[7:]):
                raise image.wrong(offset + 7, "something in the end of the volume descriptors")
            area = Extent(_FIRST * BLOCK, (number + 1) * BLOCK)
            return IsoVolumes(primary, joliet, boot, enhanced, area)
        if kind == 0 and not boot:
            boot = True
        elif kind == 1 and primary is None and number == 0:
            primary = _volume(image, data, offset, joliet=False)
        elif data[6] == _ENHANCED and primary is not None and not enhanced:
            _check_enhanced(image, data, offset, primary)
            enhanced = True
        elif (kind, data[6]) == (2, 1) and joliet is None and _is_joliet(data):
            joliet = _volume(image, data, offset, joliet=True)
        else:
            raise image.wrong(offset, f"a volume descriptor of type {kind} that is not expected")
    raise image.wrong(_FIRST * BLOCK, f"more than {_MOST} volume descriptors")


def _is_joliet(data: bytes) -> bool:
    return data[88:120].rstrip(b"\0") in _JOLIET_ESCAPES


def _check_enhanced(image: RawIso, data: bytes, offset: int, primary: IsoVolume) -> None:
    """Refuse an enhanced volume that is anything but the primary one again.

    Linux knows Joliet by the escapes alone, so one with escapes would be another tree to it.
    """
    volume = _volume(image, data, offset, joliet=False, structure=_ENHANCED)
    if any(data[88:120]) or replace(volume, offset=primary.offset) != primary:
        raise image.wrong(offset, "an enhanced volume that is another one than the primary")


def _volume(
    image: RawIso, data: bytes, offset: int, *, joliet: bool, structure: int = 1
) -> IsoVolume:
    blocks = both_endian(image, data, 80, offset, "volume space size")
    block_size = both_endian(image, data, 128, offset, "logical block size", form="H")
    if block_size != BLOCK:
        raise image.wrong(offset + 128, f"expected blocks of {BLOCK} bytes, got {block_size}")
    for at, what in ((120, "volumes of a set"), (124, "number of the volume")):
        if (count := both_endian(image, data, at, offset, what, form="H")) != 1:
            raise image.wrong(offset + at, f"{what}: expected 1, got {count}")
    if data[7] or any(data[144:148]) or any(data[152:156]) or data[881] != structure:
        raise image.wrong(offset, "volume flags, optional path tables or another structure version")
    if data[156] != 34 or data[157] or data[181] != 2 or data[182:184] != b"\0\0":
        raise image.wrong(offset + 156, "the record of the root folder is not one of a folder")
    table_size = both_endian(image, data, 132, offset, "path table size")
    little = int.from_bytes(data[140:144], "little")
    big = int.from_bytes(data[148:152], "big")
    root = Extent(
        both_endian(image, data, 158, offset, "root folder") * BLOCK,
        both_endian(image, data, 166, offset, "size of the root folder"),
    )
    label = data[40:72]
    try:
        text = label.decode("utf-16-be" if joliet else "ascii")
    except UnicodeDecodeError as error:
        raise image.wrong(offset + 40, f"volume label: not text: {label!r}") from error
    return IsoVolume(
        offset,
        joliet,
        text.rstrip(" \0"),
        blocks,
        root,
        (Extent(little * BLOCK, table_size), Extent(big * BLOCK, table_size)),
    )
