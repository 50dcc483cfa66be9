"""Rules of section A.9 of the node contract: what an upgrade needs beside what a cluster needs."""

from __future__ import annotations

from collections.abc import Iterator

from isobuilder.contract.rule import Problem, Rule, rule
from isobuilder.contract.view import NodeView

_MAX_ARCHIVES = 4 * 1024**3  # bytes; 7 MiB/s for ten minutes, a node with a slow disk


@rule("A.9.dashboard", clouds=("mold",), actions=("upgrade",), roles=("control",))
def dashboard_for_upgrade(disc: NodeView) -> Iterator[Problem]:
    """There is a dashboard for an upgrade.

    The upgrade script ends with `dashboard payload is missing` after the control plane was
    upgraded.
    """
    if not disc.has_dashboard:
        fact = "neither headlamp.yaml nor dashboard.yaml: no cluster can be upgraded to this ISO"
        yield Problem("headlamp.yaml", fact, "add one to the recipe's manifests")


@rule("A.9.dashboard-yaml", clouds=("cloudstack",), actions=("upgrade",), roles=("control",))
def dashboard_yaml_for_upgrade(disc: NodeView) -> Iterator[Problem]:
    """There is a dashboard.yaml for an upgrade.

    CloudStack 4.23 still applies that file unconditionally, after the control plane was upgraded,
    and knows no headlamp.yaml there: the script ends with 1, on every retry.
    """
    if not disc.has("dashboard.yaml"):
        there = (
            "headlamp.yaml alone does not do" if disc.has("headlamp.yaml") else "missing or empty"
        )
        fact = f"{there}: no cluster can be upgraded to this ISO"
        yield Problem("dashboard.yaml", fact, "add it to the recipe's manifests")


@rule("A.9.not-images", clouds=("cloudstack",), actions=("upgrade",))
def only_images_for_upgrade(disc: NodeView) -> Iterator[Problem]:
    """Nothing but image archives is in docker/ for an upgrade.

    CloudStack's script imports every file there under `bash -e`, without a second try: at
    `images.list`, which Mold's nodes want, it ends before anything is upgraded.
    """
    for name in disc.within("docker"):
        if not name.endswith(".tar"):
            fact = "not an image archive: an upgrade to this ISO ends when a node imports it"
            yield Problem(f"docker/{name}", fact, "build for CloudStack's profile, without it")


@rule("A.9.provider", clouds=("mold",), actions=("upgrade",), roles=("control",))
def provider_for_upgrade(disc: NodeView) -> Iterator[Problem]:
    """There is a cloud provider for an upgrade.

    The upgrade script ends with `Mold Provider payload is missing` unless an earlier ISO left one.
    """
    if not disc.has("provider.yaml"):
        fact = "missing or empty: a cluster can be upgraded only if it has a provider from before"
        yield Problem("provider.yaml", fact, "add it to the recipe's manifests")


@rule("A.9.import-time", severity="warning", actions=("upgrade",))
def import_time(disc: NodeView) -> Iterator[Problem]:
    """All images can be imported within ten minutes.

    In an upgrade each run over SSH may take no longer, and importing everything is one run.
    """
    total = sum(disc.files[f"docker/{name}"].size for name in disc.archive_names)
    if total > _MAX_ARCHIVES:
        fact = f"{total / 1024**3:.1f} GiB of image archives, expected at most 4"
        yield Problem("docker/", fact, "leave out images that no manifest names")


RULES: tuple[Rule, ...] = (
    dashboard_for_upgrade,
    dashboard_yaml_for_upgrade,
    only_images_for_upgrade,
    provider_for_upgrade,
    import_time,
)
