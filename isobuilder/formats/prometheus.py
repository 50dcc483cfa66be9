"""Numbers in the text format of Prometheus, as it scrapes them and node_exporter reads them.

Source: Prometheus, "Exposition formats", text-based format 0.0.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Row = tuple[Mapping[str, str], float]
"""Labels, and the value that they have."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def metric(name: str, kind: Kind, meaning: str, rows: Iterable[Row], ending: str = "") -> str:
    """Return one metric with its head; ``ending`` is what the names of a histogram's rows add."""
    return "".join(
        [f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n", *samples(name + ending, rows)]
    )


def samples(name: str, rows: Iterable[Row]) -> Iterable[str]:
    """Give the lines of values."""
    for labels, value in rows:
        told = ",".join(f'{key}="{text.translate(_ESCAPED)}"' for key, text in labels.items())
        yield f"{name}{{{told}}} {value}\n" if told else f"{name} {value}\n"


def value_in(text: str, name: str, labels: Mapping[str, str]) -> float | None:
    """Return the value of one line that ``metric`` wrote, None where there is none."""
    line = next(iter(samples(name, [(labels, 0)]))).rpartition(" ")[0]
    found = re.search(rf"^{re.escape(line)} ([0-9.]{{1,30}})$", text, re.MULTILINE)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None
