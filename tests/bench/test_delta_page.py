"""The page says what was measured of deltas, what was not, and where a general tool is smaller."""

from __future__ import annotations

import json
from pathlib import Path

from bench.delta_page import Cost, Pair, Records, read, text, told

PATCH = Pair("kubelet, 1 -> 2", "patch", 1_000_000)
OTHER = Pair("kubectl, 1 -> 2", "patch", 2_000_000)


def records(ours: int) -> Records:
    return {
        PATCH: {"bsdiff4": Cost(20_000, 30, 900), "ours": Cost(ours, 8, 500, 2, 200, 5, 300)},
        OTHER: {
            "bsdiff4": Cost(30_000, 50, 900),
            "zstd": Cost(90_000, 60, 300),
            "ours": Cost(1000, 9, 500, 2, 200, 5, 300),
        },
    }


def test_what_was_measured_stands_beside_what_was_aimed_at() -> None:
    page = text(records(1000))
    assert "| a patch, of the file, median | 0.1 % | 0.0750 % | met |" in page
    assert "| patches, best tool / ours, in sum | 15 | 25.0 | met |" in page
    assert "| pairs where a general tool is smaller | 0 | 0 | met |" in page
    assert "| kubelet, 1 -> 2 | 1,000,000 | 1,000 | 0.1000 % | 20,000 | - | 20.0 |" in page
    assert "| together | 3,000,000 | 2,000 | 0.0667 % | 50,000 | - | 25.0 |" in page


def test_a_pair_where_a_general_tool_is_smaller_is_named() -> None:
    page = text(records(20_001))
    assert "| pairs where a general tool is smaller | 0 | kubelet, 1 -> 2 | **not met** |" in page


def test_what_was_measured_is_kept_and_goes_on(tmp_path: Path) -> None:
    kept = tmp_path / "deltas.json"
    assert read(kept) == {}
    kept.write_text(json.dumps(told(records(1000))))
    assert read(kept) == records(1000)


def test_a_pair_that_we_have_no_figure_of_is_not_shown() -> None:
    some = records(1000)
    del some[OTHER]["ours"]
    assert "kubectl" not in text(some).partition("###")[2]
