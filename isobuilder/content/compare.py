"""What an ISO has otherwise than the tree of its lock, down to the last byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from isobuilder.content.tree import IsoTree
from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.writer import planned

Difference = tuple[str, str]
"""Place and fact, in words."""


def differences(
    reader: IsoReader, files: Mapping[str, Digest], wanted: IsoTree
) -> Iterator[Difference]:
    """Give every path, digest and mode that is not as ``wanted``, else every other byte.

    ``files`` is the digest of every file on the ISO. What no file has is compared with what the
    writer puts there: descriptors, folders, names, boot code, and zeros between files and behind
    them. If nothing is given, the ISO is what ``write_iso`` makes of ``wanted``, byte for byte.
    """
    found = [*_paths(files, wanted), *_modes(reader, wanted)]
    yield from found or _bytes_of_no_file(reader, wanted)


def _paths(files: Mapping[str, Digest], wanted: IsoTree) -> Iterator[Difference]:
    for path in sorted(files.keys() | wanted.facts.keys()):
        digest = wanted.facts[path][0] if path in wanted.facts else None
        if digest is None:
            yield path, "it is on the ISO, and nothing in the lock leads to it"
        elif path not in files:
            yield path, f"the lock leads to {digest}, it is not there"
        elif files[path] != digest:
            yield path, f"the lock leads to {digest}, the ISO has {files[path]}"


def _modes(reader: IsoReader, wanted: IsoTree) -> Iterator[Difference]:
    for entry in wanted.entries:
        mode = 0o555 if entry.mode & 0o111 else 0o444
        found = reader.files.get(entry.path)
        if found is not None and found.mode != mode:
            yield entry.path, f"its mode should be {mode:04o}, it is {found.mode:04o}"


def _bytes_of_no_file(reader: IsoReader, wanted: IsoTree) -> Iterator[Difference]:
    plan = planned(wanted.entries, label=wanted.label, epoch=wanted.epoch, boot=wanted.boot)
    if reader.size != plan.size:
        yield "the image", f"{reader.size} bytes, expected {plan.size}"
        return
    runs = [(0, plan.head)]
    ends = [(at, at + entry.size) for at, entry in plan.bodies]
    tail = plan.size - len(plan.tail)
    for (_, end), (begin, _) in pairwise([*ends, (tail, tail)]):
        runs.append((end, bytes(begin - end)))
    runs.append((tail, plan.tail))
    with reader.open_image() as image:
        for begin, expected in runs:
            image.seek(begin)
            for at in range(0, len(expected), BUFFER_SIZE):
                part = expected[at : at + BUFFER_SIZE]
                got = image.read(len(part))
                if got != part:
                    byte = (
                        begin
                        + at
                        + next(n for n, b in enumerate(part) if got[n : n + 1] != bytes([b]))
                    )
                    yield f"byte {byte}", _what(byte, len(plan.head), tail)
                    return


def _what(byte: int, head: int, tail: int) -> str:
    if byte < 32 * 1024:
        return "before the volume descriptors is something else than the writer puts there"
    if byte < head:
        return "a descriptor, folder, name or mode is not as the writer makes it"
    if byte < tail:
        return "something between the files, where only zeros should be"
    return "something behind the files that the writer does not put there"
