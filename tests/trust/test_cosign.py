"""cosign and we read each other: what it wrote once is kept, and where there is one it is asked;
both versions are asked in ``tests/lab/test_cosigns.py``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.pipeline.build import Built
from isobuilder.trust.publickeys import read_keys
from isobuilder.trust.signed import check_signatures
from tests.pipeline.conftest import built, full_store, locked, world
from tests.pipeline.signed import copied
from tests.trust.cosigning import assert_both_read_each_other, cosigns

__all__ = ["built", "full_store", "locked", "world"]

GOLDEN = Path(__file__).parents[1] / "golden" / "signing"
WRITTEN = ["cosign-2.5.sigstore.json", "cosign-3.1.sigstore.json"]
# The demo ISO of isobuilder 0.1.0, which is what was signed.
SIGNED = Digest("sha256:4ad711a4a7bf066b699951c8354b7f5825de679e45a0094c3e983b7b0a842529")


@pytest.mark.parametrize("name", WRITTEN)
def test_what_cosign_attested_holds(name: str) -> None:
    trusted = read_keys([GOLDEN / "release.pub"])
    data = (GOLDEN / name).read_bytes()
    (claim,) = check_signatures([(name, data)], trusted, SIGNED).claims
    assert claim.predicate == "https://example/x"
    other = check_signatures([(name, data)], trusted, Digest.of(b"another"))
    assert not other.claims
    assert "it is of another ISO" in other.refused[0][1]


@pytest.mark.parametrize("name", WRITTEN)
def test_one_changed_character_anywhere_in_what_is_signed_is_refused(name: str) -> None:
    trusted = read_keys([GOLDEN / "release.pub"])
    bundle = json.loads((GOLDEN / name).read_bytes())
    payload: str = bundle["dsseEnvelope"]["payload"]
    for at in range(0, len(payload) - 2, 7):
        other = "A" if payload[at] != "A" else "B"
        bundle["dsseEnvelope"]["payload"] = payload[:at] + other + payload[at + 1 :]
        found = check_signatures([(name, json.dumps(bundle).encode())], trusted, SIGNED)
        assert not found.claims
        assert found.refused


def test_cosign_and_we_read_each_other(built: Built, tmp_path: Path) -> None:
    programs = cosigns()
    if not programs:
        pytest.skip("needs cosign, which is neither installed nor in the lab")
    assert_both_read_each_other(programs, copied(built, tmp_path / "dist"), tmp_path)
