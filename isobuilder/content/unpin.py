"""The manifest as upstream serves it, found again from the one on an ISO and proved by its digest.

Pinning exchanges the names of images and sets pull policies. What stood there before is one of a
few texts, so they are tried until the digest is the locked one; which texts are tried decides
whether the bytes are found, never whether they are right.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import NamedTuple

from isobuilder.digest import Digest
from isobuilder.formats.pinning import PULL_POLICY
from isobuilder.formats.reference import ImageReference

_MOST_SITES = 128
_BUDGET = 1024 * 1024 * 1024  # bytes hashed for one manifest, which takes a second or two
_SHARES = 5  # of the budget that one round gets at most
_STEP = 8 * 1024  # bytes that one step costs besides what it hashes

_POLICY = rf"[Pp]ullPolicy[\"']?[ \t]*:(?P<value>[ \t]*(?P<q>[\"']?){PULL_POLICY}(?P=q))"
_ADDED_LINE = rf"[ ]*(?:imageP|p)ullPolicy: {PULL_POLICY}"
_OTHERS = (b"Always", b"Never")

_ANY = 99  # options; none has so many


class _Most(NamedTuple):
    """How much one round tries."""

    spellings: int  # of an image, likely ones first
    policies: int  # texts in place of a pull policy, likely ones first
    names_apart: int  # names that are spelled otherwise than where their image last stood
    policies_apart: int  # policies that are of another kind than the last one


_ROUNDS = (
    *(_Most(1, 2, 0, 1), _Most(_ANY, 2, 0, 1), _Most(_ANY, _ANY, 0, 0), _Most(_ANY, _ANY, 1, 0)),
    *(_Most(1, 2, 0, _ANY), _Most(2, 2, 0, _ANY), _Most(_ANY, 2, 0, _ANY), _Most(3, 3, _ANY, 0)),
    *(_Most(1, 3, 0, _ANY), _Most(2, 3, 0, _ANY), _Most(_ANY, 3, 0, _ANY), _Most(3, 2, 1, 1)),
    *(_Most(_ANY, _ANY, 2, 0), _Most(_ANY, 2, 2, _ANY), _Most(_ANY, _ANY, _ANY, _ANY)),
)
"""Likely and cheap ones first."""


@dataclass(frozen=True, slots=True)
class _Site:
    """A place that pinning may have changed."""

    start: int
    end: int
    options: tuple[bytes, ...]  # what may have been there, likely texts first
    image: bytes = b""  # for its name, which most manifests spell in one way; b"": a pull policy


def unpinned(pinned: bytes, spellings: Mapping[str, Sequence[str]], wanted: Digest) -> bytes | None:
    """Return the bytes of ``wanted`` whose pinned form ``pinned`` may be; None if not found.

    ``spellings`` has, by what a pinned manifest calls an image, what others may have called it.
    """
    found = chain(_images(pinned, spellings), _policies(pinned, spellings))
    sites = sorted(islice(found, _MOST_SITES + 1), key=lambda site: site.start)
    if len(sites) > _MOST_SITES or any(a.end > b.start for a, b in pairwise(sites)):
        return None
    budget = _BUDGET
    for most in _ROUNDS:
        given = min(budget, _BUDGET // _SHARES)  # so that a round without end leaves some to others
        chosen, left = _search(pinned, sites, most, wanted, given)
        if chosen is not None:
            return _joined(pinned, sites, chosen)
        budget -= given - left
    return None


def spellings_of(name: str) -> Iterator[str]:
    """Give the ways to write a reference, the given one first."""
    yield name
    try:
        reference = ImageReference.parse(name)
    except ValueError:
        return  # such as a template, for which the recipe had something to lock
    full = str(reference)
    yield full
    if reference.registry == "docker.io":
        short = full.removeprefix("docker.io/")
        yield short
        yield short.removeprefix("library/")


def _images(data: bytes, spellings: Mapping[str, Sequence[str]]) -> Iterator[_Site]:
    if not spellings:
        return
    names = sorted(spellings, key=len, reverse=True)
    pattern = rf"(?<![\w./@:-])(?:{'|'.join(map(re.escape, names))})(?![\w./@:-])"
    for match in re.finditer(pattern.encode(), data):
        texts = [text.encode() for text in spellings[match[0].decode()]]
        options = tuple(dict.fromkeys([*texts, match[0]]))
        yield _Site(match.start(), match.end(), options, match[0])


def _policies(data: bytes, spellings: Mapping[str, Sequence[str]]) -> Iterator[_Site]:
    """Give pull policies: those that may have been added, with all that was added, and others."""
    names = "|".join(map(re.escape, sorted(spellings, key=len, reverse=True))) or "(?!)"
    behind_image = re.compile(rf"(?:{names})[\"']?[^\r\n]*(?:\r\n|\r|\n)\Z".encode())
    for match in re.finditer(_POLICY.encode(), data):
        start, end = match.span("value")
        value = data[start:end]
        options = [value, *(value.replace(PULL_POLICY.encode(), text) for text in _OTHERS), b""]
        line = max(data.rfind(b"\n", 0, start), data.rfind(b"\r", 0, start)) + 1
        before = data[max(0, line - 4096) : line]
        comma = re.search(rb",[ ]*[\"']?\w*\Z", data[max(0, match.start() - 40) : match.start()])
        if comma is not None:  # in a flow mapping
            first = match.start() - len(comma[0])
            kept = data[first:start]
            yield _Site(first, end, (b"", *(kept + option for option in options)))
        elif re.fullmatch(_ADDED_LINE.encode(), data[line:end]) and behind_image.search(before):
            kept = data[line:start]
            ending = re.match(rb"\r\n|\r|\n", data[end : end + 2])
            if ending is not None:
                after = end + len(ending[0])
                yield _Site(line, after, (b"", *(kept + text + ending[0] for text in options)))
            else:  # the last line, which had no end before either
                feed = data[:line]
                first = line - (2 if feed.endswith(b"\r\n") else 1)
                kept = data[first:start]
                yield _Site(first, end, (b"", *(kept + option for option in options)))
        else:
            yield _Site(start, end, tuple(options))


def _search(
    data: bytes, sites: Sequence[_Site], most: _Most, wanted: Digest, budget: int
) -> tuple[tuple[bytes, ...] | None, int]:
    """Return the texts for the sites that give ``wanted``, and what is left of ``budget``.

    Of each site only the options within ``most`` count.
    """
    stack: list[tuple[tuple[bytes, ...], _Most, hashlib._Hash]] = [((), most, hashlib.sha256())]
    while stack and budget > 0:
        chosen, left, state = stack.pop()
        number = len(chosen)
        begin = sites[number - 1].end if number else 0
        end = sites[number].start if number < len(sites) else len(data)
        state.update(data[begin:end])
        budget -= end - begin + _STEP
        if number == len(sites):
            if state.hexdigest() == wanted.hex:
                return chosen, budget
            continue
        for option, rest in reversed(_options(sites, chosen, left)):
            following = state.copy()
            following.update(option)
            stack.append(((*chosen, option), rest, following))
    return None, budget


def _options(
    sites: Sequence[_Site], chosen: Sequence[bytes], left: _Most
) -> list[tuple[bytes, _Most]]:
    """Return what may have been at the next site, each with what is left to try behind it."""
    site = sites[len(chosen)]
    options = site.options[: left.spellings if site.image else left.policies]
    alike = (
        (other.options.index(text), text)
        for other, text in zip(sites, chosen, strict=False)
        if other.image == site.image and len(other.options) == len(site.options)
    )
    number, text = next(reversed(list(alike)), (None, b""))
    if number is None:
        return [(option, left) for option in options]
    if site.image:
        apart, rest = left.names_apart, left._replace(names_apart=left.names_apart - 1)
    else:
        apart, rest = left.policies_apart, left._replace(policies_apart=left.policies_apart - 1)
    same = text if site.image else site.options[number]
    others = (option for option in options if option != same) if apart > 0 else ()
    return [(same, left), *((option, rest) for option in others)]


def _joined(data: bytes, sites: Sequence[_Site], chosen: Sequence[bytes]) -> bytes:
    parts, done = list[bytes](), 0
    for site, text in zip(sites, chosen, strict=True):
        parts += [data[done : site.start], text]
        done = site.end
    return b"".join([*parts, data[done:]])
