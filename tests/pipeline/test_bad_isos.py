"""Every bad tree of the node contract, as a real ISO that only its rule objects to."""

from __future__ import annotations

import io
import stat
from collections.abc import Mapping
from pathlib import Path

import pycdlib
import pytest

from isobuilder.contract.play import play
from isobuilder.errors import InputError
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.pipeline.verify import verify
from tests.contract.bad_trees import BAD_TREES, BadTree
from tests.contract.trees import good

EPOCH = 1_700_000_000
# A change that only shows in sizes no test wants to write, or that no ISO writer lets through.
WRITABLE = [bad for bad in BAD_TREES if not bad.sizes]


def as_iso(bad: BadTree, path: Path) -> Path:
    tree = bad.tree()
    entries = [IsoEntry(name, 0o644, (data,)) for name, data in tree.items()]
    try:
        write_iso(entries, path, label=bad.label, epoch=EPOCH)
    except InputError:
        # Our writer refuses the very name or label that the rule is about; others write it.
        foreign_iso(tree, path, bad.label)
    return path


def foreign_iso(tree: Mapping[str, bytes], path: Path, label: str) -> None:
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=label, rock_ridge="1.09")
    ids = {"": ""}
    for name, data in tree.items():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder, parent = "/".join(parts[:depth]), "/".join(parts[: depth - 1])
            if folder not in ids:
                ids[folder] = f"{ids[parent]}/D{len(ids)}"
                iso.add_directory(ids[folder], rr_name=parts[depth - 1])
        place = ids["/".join(parts[:-1])]
        ids[name] = f"{place}/F{len(ids)}.;1"
        iso.add_fp(
            io.BytesIO(data),
            len(data),
            ids[name],
            rr_name=parts[-1],
            file_mode=stat.S_IFREG | 0o444,
        )
    iso.write(str(path))
    iso.close()


@pytest.mark.parametrize("bad", WRITABLE, ids=str)
def test_a_bad_iso_is_noticed_by_its_rule_and_no_other(bad: BadTree, tmp_path: Path) -> None:
    with IsoReader(as_iso(bad, tmp_path / "bad.iso")) as reader:
        found = play(reader, profile=bad.profile or bad.base, actions=bad.actions)
    assert {finding.rule for finding in found} == {bad.rule}, [str(item) for item in found]


def test_a_file_that_sha256sums_does_not_list_is_noticed(tmp_path: Path) -> None:
    tree = good("mold-cks")
    tree["k8s/kubectl-added-later"] = b"nobody listed me"
    iso = tmp_path / "bad.iso"
    entries = [IsoEntry(name, 0o644, (data,)) for name, data in tree.items()]
    write_iso(entries, iso, label="CDROM", epoch=EPOCH)
    found = verify(iso, layers=False).findings
    places = {(finding.rule, finding.place) for finding in found if finding.severity == "error"}
    assert places == {("iso.sums", "k8s/kubectl-added-later")}


def test_a_good_tree_passes_everything(tmp_path: Path) -> None:
    iso = tmp_path / "good.iso"
    entries = [IsoEntry(name, 0o644, (data,)) for name, data in good("mold-cks").items()]
    write_iso(entries, iso, label="CDROM", epoch=EPOCH)
    assert verify(iso).passed
