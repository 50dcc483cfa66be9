"""Bundles that others made: cosign through a real Sigstore, and one that was published.

``root.json`` and ``rekor-*`` are of a run of `make test-sigstore`, over the text ``hello``.
``npm-sigstore-2.0.0`` is the provenance of that package as npm has it; sigstore-go ships it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.trust.evidence.bundle import read_bundle
from isobuilder.trust.evidence.root import TrustedRoot, load_root
from isobuilder.trust.evidence.verify import verify_bundle

GOLDEN = Path(__file__).with_name("golden")
NPM = GOLDEN / "npm-sigstore-2.0.0.sigstore.json"
HELLO = Digest.of(b"hello\n")
HARMLESS = {"mediaType", "keyid"}  # what names the kind of text, and a hint


@pytest.fixture(scope="module")
def root() -> TrustedRoot:
    return load_root(GOLDEN / "root.json")


@pytest.mark.parametrize(
    ("version", "evidence"), [(1, ["log proof of"]), (2, ["log proof of", "timestamp"])]
)
def test_what_cosign_signed_through_a_real_sigstore_is_proved(
    version: int, evidence: list[str], root: TrustedRoot
) -> None:
    data = (GOLDEN / f"rekor-{version}.sigstore.json").read_bytes()
    proven = verify_bundle(read_bundle(data, "x"), HELLO, root, "x")
    assert proven.signer is not None
    assert proven.signer.name == "release@example.org"
    found = [one[: len(begin)] for one, begin in zip(proven.evidence, evidence, strict=True)]
    assert found == evidence
    with pytest.raises(IntegrityError, match=r"it is of sha256:\w+, not of"):
        verify_bundle(read_bundle(data, "x"), Digest.of(b"other"), root, "x")


def test_a_published_bundle_is_proved_by_the_root_that_is_shipped() -> None:
    proven = verify_bundle(read_bundle(NPM.read_bytes(), "npm"), None, load_root(None), "npm")
    assert proven.signer is not None
    assert proven.signer.issuer == "https://token.actions.githubusercontent.com"
    assert proven.signer.name.startswith("https://github.com/sigstore/sigstore-js/.github/")
    assert proven.statement is not None
    assert proven.statement.predicate_type == "https://slsa.dev/provenance/v1"


@pytest.mark.parametrize("name", [NPM.name, "rekor-1.sigstore.json", "rekor-2.sigstore.json"])
def test_one_changed_byte_of_a_bundle_that_others_made_is_refused(
    name: str, root: TrustedRoot
) -> None:
    published = name == NPM.name
    trusted, subject = (load_root(None), None) if published else (root, HELLO)
    data = json.loads((GOLDEN / name).read_bytes())
    changed = 0
    for place, value in _texts(data):
        if place[-1] in HARMLESS or not value:
            continue
        holder = data
        for step in place[:-1]:
            holder = holder[step]
        at = len(value) // 2
        holder[place[-1]] = value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
        with pytest.raises(IntegrityError):
            verify_bundle(read_bundle(json.dumps(data).encode(), "x"), subject, trusted, "x")
        holder[place[-1]] = value
        changed += 1
    assert changed > 10


def _texts(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], str]]:
    if isinstance(value, str):
        return [(place, value)]
    if not isinstance(value, dict | list):
        return []
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    return [one for step, inner in steps for one in _texts(inner, (*place, step))]
