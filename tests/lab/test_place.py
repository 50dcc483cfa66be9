"""Steps that are done once and never half, and archives that depend on their content only."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from tools.lab.archives import pack, tree
from tools.lab.place import once


def test_a_step_runs_once_for_the_same_mark_and_again_for_another(tmp_path: Path) -> None:
    calls: list[str] = []

    def make(target: Path) -> None:
        calls.append("made")
        (target / "part").write_text(f"{len(calls)}")

    for mark in ("a", "a", "b"):
        once(tmp_path / "step", mark, make)
    assert calls == ["made", "made"]
    assert (tmp_path / "step/part").read_text() == "2"


def test_an_interrupted_step_leaves_the_old_result_and_starts_over(tmp_path: Path) -> None:
    def good(target: Path) -> None:
        assert list(target.iterdir()) == []
        (target / "part").write_text("good")

    def interrupted(target: Path) -> None:
        (target / "part").write_text("half")
        raise KeyboardInterrupt

    once(tmp_path / "step", "a", good)
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "step", "b", interrupted)
    assert (tmp_path / "step/part").read_text() == "good"
    once(tmp_path / "step", "b", good)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step"]


def test_an_archive_depends_on_names_and_content_only(tmp_path: Path) -> None:
    packed = []
    for turn, (umask, order) in enumerate([(0o022, ("b", "a")), (0o077, ("a", "b"))]):
        root = tmp_path / f"tree{turn}"
        old = os.umask(umask)
        try:
            root.mkdir()
            for name in order:
                (root / name).write_text(name)
            (root / "link").symlink_to("a")
        finally:
            os.umask(old)
        packed.append(pack(tree(root, under="top/"), tmp_path / f"{turn}.tar.gz"))
    assert packed[0] == packed[1]
    with tarfile.open(tmp_path / "0.tar.gz") as archive:
        members = [(member.name, member.mode, member.linkname) for member in archive]
    assert members == [("top/a", 0o644, ""), ("top/b", 0o644, ""), ("top/link", 0o777, "a")]
