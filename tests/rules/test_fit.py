"""One function says whether parts fit together: what cannot work, and what is unwise."""

from __future__ import annotations

from datetime import date

import pytest

from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.rules.book import shipped_rules
from isobuilder.rules.fit import Parts, unfit

GITHUB = "https://github.com"


def found(
    kubernetes: str, day: str = "2026-11-28", *, pins_pause: bool = True, **components: str
) -> dict[str, str]:
    """Return the kinds of rules that say something, with their levels."""
    parts = Parts(
        KubeVersion(kubernetes),
        {name.replace("_", "-"): ReleaseVersion(text) for name, text in components.items()},
        pins_pause,
    )
    return {one.rule: one.level for one in unfit(parts, shipped_rules(), date.fromisoformat(day))}


def test_parts_of_one_time_fit() -> None:
    assert not found(
        "1.37.2",
        containerd="2.3.7",
        runc="1.4.4",
        crictl="1.37.0",
        etcd="3.7.0",
        cni_plugins="1.10.0",
        calico="3.33.0",
    )


def test_a_containerd_that_cannot_start_pods_of_mold_is_an_error() -> None:
    assert found("1.36.4", "2026-08-25", containerd="2.3.3") == {"known-bad": "error"}
    assert not found("1.36.4", "2026-08-25", containerd="2.3.4")


def test_where_the_pause_image_is_not_pinned_it_works() -> None:
    assert not found("1.36.4", "2026-08-25", containerd="2.3.3", pins_pause=False)


def test_nobody_knew_before_it_was_known() -> None:
    assert not found("1.36.0", "2026-05-01", containerd="2.3.0")


@pytest.mark.parametrize(
    ("kubernetes", "parts", "rule"),
    [
        ("1.34.13", {}, "end-of-life"),
        ("1.20.2", {}, "end-of-life"),
        ("1.36.2", {}, "known-bad"),
        ("1.37.2", {"containerd": "2.2.9"}, "least"),
        ("1.37.2", {"containerd": "1.7.36"}, "least"),
        ("1.36.6", {"containerd": "2.2.9"}, "line-ended"),
        ("1.37.2", {"containerd": "2.3.5"}, "known-bad"),
        ("1.37.2", {"etcd": "3.6.8"}, "etcd-pairing"),
        ("1.37.2", {"crictl": "1.35.0"}, "other-minor"),
        ("1.37.2", {"runc": "1.2.9"}, "line-ended"),
        ("1.38.0", {"calico": "3.33.0"}, "untested"),
    ],
)
def test_what_is_unwise_is_a_warning(kubernetes: str, parts: dict[str, str], rule: str) -> None:
    assert found(kubernetes, pins_pause=True, **parts)[rule] == "warning"


def test_images_without_signatures_are_told() -> None:
    assert "unsigned" in found("1.32.0", "2024-12-20")


def test_errors_come_first_and_each_has_fact_way_out_and_source() -> None:
    parts = Parts(KubeVersion("1.34.2"), {"containerd": ReleaseVersion("2.3.1")}, pins_pause=True)
    all_of_it = unfit(parts, shipped_rules(), date(2026, 11, 28))
    assert [one.level for one in all_of_it] == sorted(
        (one.level for one in all_of_it), key=("error", "warning").index
    )
    for one in all_of_it:
        assert one.fact
        assert one.hint
        assert one.source.endswith("looked up on 2026-11-28")


def test_versions_are_read_from_the_addresses_of_files_and_names_of_images() -> None:
    parts = Parts.of(
        KubeVersion("1.37.2"),
        [
            f"{GITHUB}/containerd/containerd/releases/download/v2.3.7/containerd-2.3.7-linux-amd64.tar.gz",
            f"{GITHUB}/opencontainers/runc/releases/download/v1.4.4/runc.amd64",
            "https://files.example/k8s/crictl-v1.37.0-linux-amd64.tar.gz",
            "https://files.example/k8s/cni-plugins-linux-arm64-v1.10.0.tgz",
            "https://files.example/etcd-v3.7.0-linux-amd64.tar.gz",
            f"{GITHUB}/somebody/runc/releases/download/v9.9.9/runc.amd64",
            f"{GITHUB}/opencontainers/runc/releases/download/nightly/runc.arm64",
        ],
        ["quay.io/calico/node:v3.33.0", "quay.io/calico/cni:v3.33.0", "registry.k8s.io/pause:3.10"],
        pins_pause=True,
    )
    assert {name: str(version) for name, version in parts.components.items()} == {
        "containerd": "2.3.7",
        "runc": "1.4.4",
        "crictl": "1.37.0",
        "cni-plugins": "1.10.0",
        "etcd": "3.7.0",
        "calico": "3.33.0",
    }
