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


def test_a_goal_that_nothing_was_measured_for_has_a_dash() -> None:
    for which in ("median", "most"):
        goal = f"| a minor release, of the file, {which} | 3 % | "
        assert goal + "- | not measured |" in text(records(1000))
    minor = Pair("kubectl, 1.36 -> 1.37", "minor", 1_000_000)
    page = text({minor: {"zstd": Cost(90_000, 60, 300), "ours": Cost(30_001, 100, 2000)}})
    assert goal + "3.00 % | **not met** |" in page
    assert "| minor releases, best tool / ours, in sum | 2 | 3.0 | met |" in page


def test_a_ratio_to_tools_that_nobody_tried_is_not_measured() -> None:
    page = text({PATCH: {"ours": Cost(1000, 8, 500)}})
    assert "| patches, best tool / ours, in sum | 15 | - | not measured |" in page


def test_an_iso_is_judged_by_what_making_and_applying_it_take() -> None:
    iso = Pair("old.iso -> new.iso", "iso", 460_000_000)
    page = text({iso: {"ours": Cost(512_001, 361, 1100, 90, 300, 400, 513)}})
    assert "| an ISO, bytes carried | 512 KB | 512,001 | **not met** |" in page
    assert "| making it, CPU time | 360 s | 361 s | **not met** |" in page
    assert "| applying it, CPU time | 90 s | 90 s | met |" in page
    assert "| applying it without any library, CPU time | 720 s | 400 s | met |" in page
    assert "| applying it, memory | 512 MiB | 513 MiB | **not met** |" in page
    assert "an ISO" not in text(records(1000)).partition("###")[0]


def test_what_was_measured_is_kept_and_goes_on(tmp_path: Path) -> None:
    kept = tmp_path / "deltas.json"
    assert read(kept) == {}
    kept.write_text(json.dumps(told(records(1000))))
    assert read(kept) == records(1000)


def test_a_pair_that_we_have_no_figure_of_is_not_shown() -> None:
    some = records(1000)
    del some[OTHER]["ours"]
    assert "kubectl" not in text(some).partition("###")[2]
