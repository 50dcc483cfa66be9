"""How long the codes of a block are: what Go's compressor finds, and what zlib's finds.

Both look for the shortest block and often find the same lengths. Where several are equally good,
or where codes would be longer than they may be, each has its own way. Sources: Go 1.26,
compress/flate/huffman_code.go; zlib 1.3.1, trees.c. Written anew, for the same results.
"""

from __future__ import annotations

from collections.abc import Sequence

_NEVER = 1 << 60  # of a frequency: there is no more of it


def go_lengths(frequencies: Sequence[int], longest: int) -> list[int]:
    """Return the bits of each symbol's code as Go chooses them; 0 for what does not occur."""
    lengths = [0] * len(frequencies)
    used = sorted((count, symbol) for symbol, count in enumerate(frequencies) if count)
    if len(used) <= 2:
        for _, symbol in used:
            lengths[symbol] = 1
        return lengths
    rest = len(used)
    for bits, count in enumerate(_counts([count for count, _ in used], longest), start=1):
        for _, symbol in used[rest - count : rest]:
            lengths[symbol] = bits
        rest -= count
    return lengths


def _counts(leaves: list[int], longest: int) -> list[int]:
    """Return how many symbols get 1, 2, ... bits: package-merge that keeps only what it needs.

    ``leaves`` are three or more frequencies in ascending order. A level makes its next item of a
    leaf or of two items of the level below, a pair where both are equally heavy.
    """
    count = len(leaves)
    depth = min(longest, count - 1)
    leaves = [*leaves, _NEVER]
    last = [leaves[1]] * (depth + 2)  # of a level: the weight of its newest item
    leaf = [leaves[2]] * (depth + 2)  # of its next leaf
    pair = [leaves[0] + leaves[1]] * (depth + 2)  # of its next pair
    needed = [0] * (depth + 2)
    taken = [[0] * (depth + 1) for _ in range(depth + 1)]  # leaves, of each level below it
    for level in range(1, depth + 1):
        taken[level][level] = 2
    pair[1] = _NEVER
    needed[depth] = 2 * count - 4
    level = depth
    while True:
        if pair[level] >= _NEVER and leaf[level] >= _NEVER:
            needed[level] = 0
            pair[level + 1] = _NEVER
            level += 1
            continue
        before = last[level]
        if leaf[level] < pair[level]:
            taken[level][level] += 1
            last[level], leaf[level] = leaf[level], leaves[taken[level][level]]
        else:
            last[level] = pair[level]
            taken[level][:level] = taken[level - 1][:level]
            needed[level - 1] = 2
        needed[level] -= 1
        if needed[level] == 0:
            if level == depth:
                break
            pair[level + 1] = before + last[level]
            level += 1
        else:
            while needed[level - 1] > 0:
                level -= 1
    leaves_at = taken[depth]
    return [leaves_at[level] - leaves_at[level - 1] for level in range(depth, 0, -1)]


def zlib_lengths(frequencies: Sequence[int], longest: int) -> list[int]:
    """Return the bits of each symbol's code as zlib chooses them: at least two symbols have one."""
    weights = list(frequencies)
    used = [symbol for symbol, weight in enumerate(weights) if weight]
    highest = used[-1] if used else -1
    while len(used) < 2:
        highest, symbol = (highest + 1, highest + 1) if highest < 2 else (highest, 0)
        weights[symbol] = 1
        used.append(symbol)
    parents, order = _tree(weights, used)
    return _lengths(weights, parents, order, longest)


def _tree(weights: list[int], heap: list[int]) -> tuple[dict[int, int], list[int]]:
    """Join the two lightest nodes until one is left; return parents, and nodes as they were taken.

    ``weights`` grows by one for each node. Of nodes of equal weight the flatter is the lighter;
    of those that are equal in both, the order is that of a heap in an array, which is kept here.
    """
    depths = [0] * (2 * len(weights))

    def lighter(one: int, other: int) -> bool:
        return (weights[one], depths[one]) <= (weights[other], depths[other])

    def sink(place: int) -> None:
        node = heap[place]
        while (child := 2 * place + 1) < len(heap):
            if child + 1 < len(heap) and lighter(heap[child + 1], heap[child]):
                child += 1
            if lighter(node, heap[child]):
                break
            heap[place] = heap[child]
            place = child
        heap[place] = node

    for place in range(len(heap) // 2 - 1, -1, -1):
        sink(place)
    parents: dict[int, int] = {}
    order: list[int] = []
    while len(heap) > 1:
        first, heap[0] = heap[0], heap[-1]
        heap.pop()
        sink(0)
        second = heap[0]
        node = len(weights)
        weights.append(weights[first] + weights[second])
        depths[node] = max(depths[first], depths[second]) + 1
        parents[first] = parents[second] = node
        order += (first, second)
        heap[0] = node
        sink(0)
    return parents, order


def _lengths(
    weights: list[int], parents: dict[int, int], order: list[int], longest: int
) -> list[int]:
    """Return lengths along the tree, shortened where they would be longer than ``longest``."""
    symbols = len(weights) - len(order) // 2
    bits = {len(weights) - 1: 0}
    counts = [0] * (longest + 1)
    excess = 0
    for node in reversed(order):
        length = bits[parents[node]] + 1
        if length > longest:
            length = longest
            excess += 1
        bits[node] = length
        if node < symbols:
            counts[length] += 1
    if excess:
        _shorten(counts, excess)
        leaves = (node for node in order if node < symbols)
        for length in range(longest, 0, -1):
            for _ in range(counts[length]):
                bits[next(leaves)] = length
    return [bits.get(symbol, 0) for symbol in range(symbols)]


def _shorten(counts: list[int], excess: int) -> None:
    longest = len(counts) - 1
    while excess > 0:
        length = longest - 1
        while counts[length] == 0:
            length -= 1
        counts[length] -= 1
        counts[length + 1] += 2
        counts[longest] -= 1
        excess -= 2
