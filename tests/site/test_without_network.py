"""A site without Internet: no command for sites needs more than loopback."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import click

from isobuilder.cli.site.group import site
from isobuilder.digest import Digest
from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.pipeline.delta.discs import a_tree, disc
from tests.pipeline.signed import copied, new_key
from tests.site.alone import run_alone
from tests.site.isos import PAUSE, image, iso

Words = list[str | Path]


def commands(built: Built, store: Store, folder: Path) -> list[Words]:
    """Return at least one line for each command, in an order in which each finds what it takes."""
    here = copied(built, folder / "dist")
    broken = copied(built, folder / "broken")
    data = bytearray(broken.read_bytes())
    data[-3000] ^= 1
    broken.write_bytes(data)
    chance = random.Random(2)
    tree = a_tree(chance)
    old = disc(tree, folder / "old.iso")
    new = disc({**tree, "new.yaml": b"new\n"}, folder / "new.iso")
    (folder / "images").mkdir()
    small = iso(folder / "images" / "small.iso", [image(PAUSE)])
    new_key(folder, "plant")
    plant: Words = ["--site", "plant-7", "--records"]
    key: Words = ["--sign", "--key", folder / "plant.pem"]
    proved: Words = ["--signed-by", folder / "plant.pub"]
    stored: Words = ["--store", store.root]
    paper, blobs = folder / "ledger.txt", folder / "blobs.txt"
    carried = folder / "carried"
    serve: Words = ["site", "serve", folder / "dist", folder / "images"]
    serve += ["--listen", "127.0.0.1:0", "--catalogue", folder / "catalogue"]
    return [
        [
            "site",
            "export",
            here,
            "--out",
            carried / "b.tar",
            "--part-size",
            "100K",
            *stored,
        ],
        ["site", "import", carried, "--out", folder / "in"],
        ["site", "import", here, "--out", folder / "in"],
        ["build", "--offline", folder / "in" / f"{here.stem}.lock.json", "--out", folder / "made"],
        ["site", "check", here, "--have", "1.33.9", "--server", "lab", "--digest", built.digest],
        ["site", "check", carried, *stored],
        ["site", "ledger", here, *plant, folder / "r1", "--out", paper, *key],
        ["site", "ledger", "--read", paper, *plant, folder / "r2", here, *proved, "--hand-over"],
        ["site", "ledger", "--blobs", *plant, folder / "r3", "--out", blobs, *stored],
        ["site", "export", here, "--known", blobs, "--out", folder / "rest.tar", *stored],
        ["site", "delta", old, new, "--out", folder / "new.delta"],
        ["site", "delta", "--show", folder / "new.delta"],
        ["site", "apply", old, folder / "new.delta", "--out", folder / "applied.iso"],
        ["site", "repair", broken, "--from", here],
        ["site", "push", small, "--registry", "REGISTRY"],
        ["site", "push", here, "--registry", "REGISTRY", "--prune", small],
        ["catalogue", folder / "dist", "--out", folder / "catalogue"],
        serve,
        ["site", "protect", here],
        ["site", "repair", here, "--parity"],
    ]


def test_no_command_for_sites_needs_more_than_loopback(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    lines = commands(built, full_store, tmp_path)
    assert {line[1] for line in lines if line[0] == "site"} == set(
        site.list_commands(click.Context(site))
    )
    if shutil.which("par2") is None:
        lines = [line for line in lines if "protect" not in line and "--parity" not in line]
    done = run_alone(lines, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    name = built.iso.name
    for made in (tmp_path / "made" / name, tmp_path / "broken" / name):
        assert Digest.of_file(made) == built.digest
    assert Digest.of_file(tmp_path / "applied.iso") == Digest.of_file(tmp_path / "new.iso")
    for told in (
        "1.33.9 -> 1.34.12\n",
        "signed by plant (sha256:",
        "override_path = true",
        built.digest.hex,
    ):
        assert told in done.stdout


def test_who_asks_somebody_outside_is_found(tmp_path: Path) -> None:
    """Else the test above proves nothing."""
    small = iso(tmp_path / "small.iso", [image(PAUSE)])
    done = run_alone([["site", "push", small, "--registry", "http://192.0.2.1"]], tmp_path)
    assert done.returncode != 0
    assert "socket.connect ('192.0.2.1', 80)" in done.stderr
