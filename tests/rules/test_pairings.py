"""The table of kubeadm's pairings has what was read, and knows what it does not know."""

from __future__ import annotations

import pytest

from isobuilder.formats.kube import KubeVersion
from isobuilder.rules.book import shipped_rules
from isobuilder.rules.pairings import core_images, core_tags, newest_known


@pytest.mark.parametrize(
    ("version", "etcd", "coredns", "pause"),
    [
        ("1.37.0", "3.7.0-0", "v1.14.6", "3.10.2"),
        ("1.37.2", "3.7.0-0", "v1.14.6", "3.10.2"),
        ("1.36.0", "3.6.8-0", "v1.14.2", "3.10.2"),
        ("1.35.3", "3.6.6-0", "v1.13.1", "3.10.1"),
        ("1.34.0", "3.6.4-0", "v1.12.1", "3.10.1"),
        ("1.34.2", "3.6.5-0", "v1.12.1", "3.10.1"),
        ("1.33.3", "3.5.21-0", "v1.12.0", "3.10"),
        ("1.33.6", "3.5.24-0", "v1.12.0", "3.10"),
        ("1.32.0", "3.5.16-0", "v1.11.3", "3.10"),
        ("1.32.10", "3.5.24-0", "v1.11.3", "3.10"),
        ("1.31.14", "3.5.24-0", "v1.11.3", "3.10"),
        ("1.28.5", "3.5.9-0", "v1.10.1", "3.9"),
        ("1.28.7", "3.5.10-0", "v1.10.1", "3.9"),
        ("1.28.10", "3.5.12-0", "v1.10.1", "3.9"),
        ("1.27.6", "3.5.7-0", "v1.10.1", "3.9"),
        ("1.27.9", "3.5.9-0", "v1.10.1", "3.9"),
        ("1.27.11", "3.5.10-0", "v1.10.1", "3.9"),
        ("1.27.16", "3.5.12-0", "v1.10.1", "3.9"),
    ],
)
def test_a_patch_that_was_read_has_its_three_tags(
    version: str, etcd: str, coredns: str, pause: str
) -> None:
    tags = core_tags(KubeVersion(version))
    assert tags is not None
    assert (tags.etcd, tags.coredns, tags.pause) == (etcd, coredns, pause)
    images = core_images(KubeVersion(version)) or ()
    assert f"registry.k8s.io/etcd:{etcd}" in images
    assert f"registry.k8s.io/kube-proxy:v{version}" in images


@pytest.mark.parametrize("version", ["1.37.3", "1.36.6", "1.35.10", "1.34.13", "1.38.0", "1.26.4"])
def test_a_patch_that_nobody_read_is_not_known(version: str) -> None:
    assert core_tags(KubeVersion(version)) is None
    assert core_images(KubeVersion(version)) is None


def test_the_newest_known_patch_of_a_minor_is_told() -> None:
    assert newest_known(KubeVersion("1.36.6")) == KubeVersion("1.36.5")
    assert newest_known(KubeVersion("1.38.0")) is None


def test_no_patch_is_in_two_rows() -> None:
    patches = [
        (row.first.minor, patch)
        for row in shipped_rules().pairings
        for patch in range(row.first.patch, row.last.patch + 1)
    ]
    assert len(patches) == len(set(patches))


def test_the_etcd_whose_flags_are_known_to_be_gone_is_the_one_that_is_paired() -> None:
    """Cluster files are judged by Kubernetes' minor alone: no patch may move etcd's minor."""
    for row in shipped_rules().pairings:
        minor = row.first.minor
        expected = "3.7." if minor >= 37 else "3.6." if minor >= 34 else ("3.4.", "3.5.")
        assert row.etcd.startswith(expected), row
