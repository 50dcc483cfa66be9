"""Which upgrades are possible with what was carried to a site."""

from __future__ import annotations

import pytest

from isobuilder.formats.kube import KubeVersion
from isobuilder.site.upgrades import Offer, Way, ways

V = KubeVersion


def offers(architecture: str, *versions: str) -> list[Offer]:
    return [Offer(V(text), architecture, "x", "x") for text in versions]


def way(have: str, architecture: str | None, *steps: str, gap: str | None = None) -> Way:
    return Way(V(have), tuple(map(V, steps)), gap, architecture)


@pytest.mark.parametrize(
    ("have", "there", "steps", "gap"),
    [
        ("1.34.9", ["1.34.12"], ["1.34.12"], None),
        ("1.34.12", ["1.34.9", "1.34.12", "1.33.7"], [], None),
        ("1.34.9", ["1.34.12", "1.35.8", "1.35.9", "1.36.5"], ["1.35.9", "1.36.5"], None),
        ("1.34.9", ["1.34.12", "1.36.5"], ["1.34.12"], "1.35"),
        ("1.34.9", ["1.34.8", "1.36.5"], [], "1.35"),
        ("1.34.9", ["1.35.9", "1.37.1", "1.38.0"], ["1.35.9"], "1.36"),
        ("1.34.9", ["2.34.12", "2.35.1"], [], None),
        ("1.34.9", ["1.34.12", "2.35.1", "1.36.5"], ["1.34.12"], "1.35"),
        ("1.34.9", [], [], None),
    ],
)
def test_upgrades_go_one_minor_at_a_time_and_say_what_is_missing(
    have: str, there: list[str], steps: list[str], gap: str | None
) -> None:
    carried = offers("amd64", *there)
    assert ways([(V(have), "amd64")], carried) == [way(have, "amd64", *steps, gap=gap)]
    assert ways([(V(have), "arm64")], carried) == [way(have, "arm64")]


def test_no_way_changes_the_architecture() -> None:
    carried = [*offers("amd64", "1.35.2"), *offers("arm64", "1.36.1")]
    mixed = [way("1.34.12", "amd64", "1.35.2"), way("1.34.12", "arm64", gap="1.35")]
    assert ways([(V("1.34.12"), None)], carried) == mixed
    assert ways([(V("1.34.12"), "arm64")], carried) == mixed[1:]
    assert ways([(V("1.34.12"), one) for one in ("amd64", None, "arm64")], carried) == mixed


def test_what_nobody_knows_of_a_cluster_is_what_is_offered() -> None:
    unknown = [(V("1.34.12"), None)]
    assert ways(unknown, offers("arm64", "1.35.2")) == [way("1.34.12", "arm64", "1.35.2")]
    assert ways(unknown, []) == [way("1.34.12", None)]
