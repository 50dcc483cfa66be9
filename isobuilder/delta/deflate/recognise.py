"""A gzip file -> how it was made, if a compressor that we know makes the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from isobuilder.delta.deflate.encoders import Engine
from isobuilder.delta.deflate.models import encoder_of, likely, unlikely
from isobuilder.delta.deflate.rebuild import Content, compressed
from isobuilder.delta.deflate.recipe import MAX_JOINS, GzipMember, GzipRecipe, Making
from isobuilder.delta.deflate.stream import GzipSpan, NotGzip, content_of, inflated_sizes, spans_of
from isobuilder.delta.methods import DeltaError

_MAKERS = 16  # compressors of one file; each costs a search
_LOOKED_AT = 128 * 1024  # bytes of content
_FLUSHED = b"\0\0\xff\xff"  # a stored block without bytes, as a flush leaves one behind


def recognise(stream: BinaryIO, engine: Engine | None = None) -> GzipRecipe | None:
    """Return how ``stream`` was made; None if no model of ours makes just these bytes.

    Every answer was proved: the whole file was made anew and compared. What does not fit is given
    up at its first difference, mostly after the first block.
    """
    members: list[GzipMember] = []
    known: list[Making] = []  # whoever made one member made the others too
    try:
        for span in spans_of(stream):
            member = _tried(stream, span, known, engine)
            if member is None:
                member = _searched(stream, span, engine) if len(known) < _MAKERS else None
                if member is None:
                    return None
            known = [member.making, *(one for one in known if one != member.making)]
            members.append(member)
    except NotGzip:
        return None
    recipe = GzipRecipe(tuple(members))
    return recipe if sum(len(member.joins) for member in members) <= MAX_JOINS else None


def _tried(
    stream: BinaryIO, span: GzipSpan, makings: Iterable[Making], engine: Engine | None
) -> GzipMember | None:
    """Return the member by the first of ``makings`` that is right, without flushes if it can be."""
    makings = list(makings)
    joins = _joins(stream, span) if makings else ()
    for places in ((), joins) if joins else ((),):
        for making in makings:
            member = GzipMember(span.header, making, span.size, span.check, places)
            if _makes(stream, span, member, engine):
                return member
    return None


def _searched(stream: BinaryIO, span: GzipSpan, engine: Engine | None) -> GzipMember | None:
    stream.seek(max(span.begin, span.end - len(_FLUSHED)))
    go = stream.read(min(len(_FLUSHED), span.end - span.begin)) == _FLUSHED
    found = _tried(stream, span, likely(span.size, go=go), engine)
    for making in () if found else unlikely(go=go):
        member = GzipMember(span.header, making, span.size, span.check)
        if _begins(stream, span, making) and _makes(stream, span, member, engine):
            return member
    return found


def _begins(stream: BinaryIO, span: GzipSpan, making: Making) -> bool:
    """Return whether the first bytes are those of ``span``; there may be none yet to compare.

    What is hardly worth a try must not cost as much as what is: a long run of zeros gives nothing
    to compare for megabytes.
    """
    encoder = encoder_of(making)
    made = b"".join(map(encoder.feed, Content(content_of(stream, span)).take(_LOOKED_AT)))
    stream.seek(span.begin)
    begun = stream.read(min(len(made), span.end - span.begin)) == made
    return begun and (bool(made) or span.size <= _LOOKED_AT)


def _makes(stream: BinaryIO, span: GzipSpan, member: GzipMember, engine: Engine | None) -> bool:
    """Return whether ``member`` gives the bytes of ``span``."""
    place = span.begin
    try:
        for made in compressed(member, Content(content_of(stream, span)), engine):
            stream.seek(place)
            if place + len(made) > span.end or stream.read(len(made)) != made:
                return False
            place += len(made)
    except DeltaError:  # the search takes too long
        return False
    return place == span.end


def _joins(stream: BinaryIO, span: GzipSpan) -> tuple[int, ...]:
    """Return where in the content a flush may have been; the end is none, Go ends with one."""
    places = inflated_sizes(stream, span, list(_flushes(stream, span)))
    return tuple(places)


def _flushes(stream: BinaryIO, span: GzipSpan) -> Iterator[int]:
    """Give every place of the file, up to ``MAX_JOINS``, that lies behind what a flush leaves."""
    step, place, found = 1 << 20, span.begin, 0
    while place < span.end and found <= MAX_JOINS:
        stream.seek(place)
        data = stream.read(min(step + len(_FLUSHED) - 1, span.end - place))
        at = data.find(_FLUSHED)
        while 0 <= at < step:
            behind = place + at + len(_FLUSHED)
            if behind < span.end:
                found += 1
                yield behind
            at = data.find(_FLUSHED, at + 1)
        place += step
