"""Sizes as a treemap: rectangles whose areas are the sizes, groups in one piece.

Source: Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_MOST_TILES = 24
"""Rectangles of one group; what is smaller than these is one more, without a name."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One rectangle, in units of the drawing."""

    group: str
    label: str  # "" for the rest of a group
    size: int  # bytes
    count: int  # of things in it
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


Sizes = Mapping[str, Sequence[tuple[str, int]]]
"""By group: what is in it, and how many bytes each has."""


def treemap(groups: Sizes, width: int, height: int) -> tuple[Tile, ...]:
    """Return the tiles of all groups, which fill the drawing; nothing without a size is drawn.

    The same sizes give the same tiles: coordinates are rounded to a tenth.
    """
    merged = {name: list(_merged(items)) for name, items in groups.items()}
    totals = {name: sum(size for _, size, _ in items) for name, items in merged.items()}
    order = sorted((name for name in totals if totals[name]), key=lambda n: (-totals[n], n))
    boxes = _squarified([totals[name] for name in order], _Box(0, 0, width, height))
    found = []
    for name, box in zip(order, boxes, strict=True):
        items = merged[name]
        inner = _squarified([size for _, size, _ in items], box)
        for (label, size, count), tile in zip(items, inner, strict=True):
            corners = (tile.x, tile.y, tile.width, tile.height)
            found.append(Tile(name, label, size, count, *(round(one, 1) for one in corners)))
    return tuple(found)


def _merged(items: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    """Give the largest, and the others as one: label, bytes, how many."""
    ranked = sorted(((size, label) for label, size in items if size > 0), key=_largest_first)
    kept = ranked[:_MOST_TILES]
    yield from ((label, size, 1) for size, label in kept)
    if rest := ranked[_MOST_TILES:]:
        yield "", sum(size for size, _ in rest), len(rest)


def _largest_first(item: tuple[int, str]) -> tuple[int, str]:
    return -item[0], item[1]


def _squarified(sizes: Sequence[int], box: _Box) -> list[_Box]:
    """Return a box for each size, in order; rows are filled as long as that makes them squarer."""
    boxes: list[_Box] = []
    left = float(sum(sizes))
    begin = 0
    while begin < len(sizes):
        scale = box.width * box.height / left if left else 0.0
        side = min(box.width, box.height)
        end = begin + 1
        row = sizes[begin] * scale
        worst = _worst([sizes[begin] * scale], row, side)
        while end < len(sizes):
            areas = [size * scale for size in sizes[begin : end + 1]]
            more = _worst(areas, sum(areas), side)
            if more > worst:
                break
            worst, row, end = more, sum(areas), end + 1
        placed, box = _row([size * scale for size in sizes[begin:end]], row, box)
        boxes += placed
        left -= sum(sizes[begin:end])
        begin = end
    return boxes


def _worst(areas: Sequence[float], total: float, side: float) -> float:
    """Return how far the thinnest box of a row is from a square, 1 being one."""
    if not total or not side or not min(areas):
        return float("inf")
    thickness = total / side
    return max(max(thickness**2 / area, area / thickness**2) for area in areas)


def _row(areas: Sequence[float], total: float, box: _Box) -> tuple[list[_Box], _Box]:
    """Return the boxes of one row along the shorter side, and what is left of ``box``."""
    side = min(box.width, box.height)
    thickness = total / side if side else 0.0
    placed = []
    at = 0.0
    for area in areas:
        length = area / thickness if thickness else 0.0
        if box.width >= box.height:
            placed.append(_Box(box.x, box.y + at, thickness, length))
        else:
            placed.append(_Box(box.x + at, box.y, length, thickness))
        at += length
    if box.width >= box.height:
        return placed, _Box(box.x + thickness, box.y, box.width - thickness, box.height)
    return placed, _Box(box.x, box.y + thickness, box.width, box.height - thickness)
