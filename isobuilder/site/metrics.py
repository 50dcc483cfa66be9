"""Numbers about what was served, in the text format of Prometheus.

Source: Prometheus, "Exposition formats", text-based format 0.0.4.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

_BOUNDS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # seconds
_NAME = "isobuilder_site"


class Metrics:
    """Counts requests; safe to use from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._bytes: Counter[str] = Counter()
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0

    def count(self, kind: str, status: int, sent: int, seconds: float) -> None:
        """Take note of one answer."""
        with self._guard:
            self._requests[kind, status] += 1
            self._bytes[kind] += sent
            self._buckets[bisect_left(_BOUNDS, seconds)] += 1
            self._seconds += seconds

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> bytes:
        """Return everything; ``gauges`` are further values with what they mean."""
        with self._guard:
            requests = sorted(self._requests.items())
            sent, buckets, seconds = sorted(self._bytes.items()), list(self._buckets), self._seconds
        lines = list(
            _metric(
                "requests_total",
                "counter",
                "Answers by kind and status.",
                ((f'{{kind="{kind}",code="{code}"}}', n) for (kind, code), n in requests),
            )
        )
        lines += _metric(
            "sent_bytes_total",
            "counter",
            "Bytes of bodies by kind.",
            ((f'{{kind="{kind}"}}', n) for kind, n in sent),
        )
        total = 0
        rows: list[tuple[str, float]] = []
        for bound, number in zip((*_BOUNDS, "+Inf"), buckets, strict=True):
            total += number
            rows.append((f'_bucket{{le="{bound}"}}', total))
        rows += [("_sum", round(seconds, 6)), ("_count", total)]
        lines += _metric("request_seconds", "histogram", "From a head to a body's end.", rows)
        for name, (meaning, value) in gauges.items():
            lines += _metric(name, "gauge", meaning, [("", value)])
        return ("\n".join(lines) + "\n").encode()


def _metric(name: str, kind: str, meaning: str, rows: Iterable[tuple[str, float]]) -> Iterable[str]:
    yield f"# HELP {_NAME}_{name} {meaning}"
    yield f"# TYPE {_NAME}_{name} {kind}"
    for labels, value in rows:
        yield f"{_NAME}_{name}{labels} {value}"
