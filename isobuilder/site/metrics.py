"""Numbers about what was served, for Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from isobuilder.formats.prometheus import Row, metric, samples

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
        answers = [({"kind": kind, "code": str(code)}, n) for (kind, code), n in requests]
        parts = [
            metric(f"{_NAME}_requests_total", "counter", "Answers by kind and status.", answers),
            metric(
                f"{_NAME}_sent_bytes_total",
                "counter",
                "Bytes of bodies by kind.",
                [({"kind": kind}, n) for kind, n in sent],
            ),
        ]
        name, total = f"{_NAME}_request_seconds", 0
        rows: list[Row] = []
        for bound, number in zip((*_BOUNDS, "+Inf"), buckets, strict=True):
            total += number
            rows.append(({"le": str(bound)}, total))
        parts.append(metric(name, "histogram", "From a head to a body's end.", rows, "_bucket"))
        parts += samples(f"{name}_sum", [({}, round(seconds, 6))])
        parts += samples(f"{name}_count", [({}, total)])
        for gauge, (meaning, value) in gauges.items():
            parts.append(metric(f"{_NAME}_{gauge}", "gauge", meaning, [({}, value)]))
        return "".join(parts).encode()
