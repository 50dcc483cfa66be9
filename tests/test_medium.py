"""A medium reads each file once, however many checks ask, and within one budget."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Mapping
from typing import BinaryIO

import pytest

from isobuilder import medium as module
from isobuilder.contract.play import play
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.iso.check.archives import Expected, check_archives
from isobuilder.medium import Medium
from tests.contract.trees import DictMedium, good, tar


class Counting(DictMedium):
    """Tells how often each file was opened."""

    def __init__(self, tree: Mapping[str, bytes]) -> None:
        super().__init__(tree)
        self.opened: Counter[str] = Counter()

    def open(self, path: str) -> BinaryIO:
        self.opened[path] += 1
        return super().open(path)


def archives_of(source: DictMedium) -> dict[str, Expected]:
    return {path: Expected() for path in source.files if path.endswith(".tar")}


@pytest.mark.parametrize("profile", ["mold-cks", "mold-cks-csi", "cloudstack-cks"])
def test_all_checks_together_read_every_file_once(profile: str) -> None:
    source = Counting(good(profile))  # type: ignore[arg-type]
    medium = Medium(source)
    medium.known({path: Digest.of(data) for path, data in source.tree.items()})
    check_archives(medium, archives_of(source), layers=False)
    assert play(medium, profile=profile) == []  # type: ignore[arg-type]
    assert set(archives_of(source)) < source.opened.keys()
    assert set(source.opened.values()) == {1}


def test_an_archive_is_walked_once_for_both_judgements() -> None:
    source = Counting(good())
    medium = Medium(source)
    check_archives(medium, archives_of(source), layers=False)
    play(medium, profile="mold-cks")
    assert {source.opened[path] for path in archives_of(source)} == {1}


def test_digests_that_are_known_are_not_taken_again() -> None:
    source = Counting(good())
    medium = Medium(source)
    known = Medium(DictMedium(good())).digest("network.yaml")
    assert not isinstance(known, IntegrityError)
    medium.known({"network.yaml": known})
    assert medium.digest("network.yaml") == known
    assert not source.opened


def test_what_cannot_be_read_is_told_each_time_and_tried_once() -> None:
    source = Counting({"manifest.json": b"[" * 100_000, "a.tar": b"x" * 5000})
    medium = Medium(source)
    for _ in range(2):
        assert isinstance(medium.json("manifest.json"), IntegrityError)
        assert isinstance(medium.manifest, IntegrityError)
        assert "not a tar header" in str(medium.archive("a.tar"))
    assert source.opened == {"manifest.json": 1, "a.tar": 1}


def test_texts_have_one_budget_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 3000)
    medium = Medium(DictMedium({"a": bytes(2000), "b": bytes(2000)}))
    assert medium.read("a") == bytes(2000)
    with pytest.raises(IntegrityError, match="more than 3000 bytes together"):
        medium.read("b")


def test_archives_unpack_within_one_budget_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FREE", 1_500_000)
    packed = gzip.compress(tar({"zeros": bytes(1_000_000)}))
    medium = Medium(DictMedium({"a.tgz": packed, "b.tgz": packed}))
    assert not isinstance(medium.packed("a.tgz"), IntegrityError)
    assert "archives unpack to more than" in str(medium.packed("b.tgz"))
