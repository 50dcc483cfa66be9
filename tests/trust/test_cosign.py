"""cosign and we read each other: what it wrote once is kept, what it says of ours is asked where
there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.pipeline.build import Built
from isobuilder.trust.publickeys import read_keys
from isobuilder.trust.signed import check_signatures
from isobuilder.trust.statement import PROVENANCE
from tests.cli.calling import call
from tests.pipeline.conftest import built, full_store, locked, world
from tests.pipeline.signed import bundle_of, copied, new_key
from tools.lab.place import lab_dir

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


def cosigns() -> list[Path]:
    """Return every cosign of this machine: the installed one, and the lab's."""
    found = [shutil.which("cosign"), *map(str, lab_dir().glob("programs/*/cosign"))]
    return [Path(one) for one in found if one]


def test_cosign_finds_our_signature_good_and_a_replayed_one_bad(
    built: Built, tmp_path: Path
) -> None:
    programs = cosigns()
    if not programs:
        pytest.skip("needs cosign, which is neither installed nor in the lab")
    iso = copied(built, tmp_path / "dist")
    key = new_key(tmp_path, "release")
    call("sign", iso, "--key", key)
    root = tmp_path / "root.json"
    kind = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    root.write_text(json.dumps({"mediaType": kind, "tlogs": [], "certificateAuthorities": []}))
    other = tmp_path / "other.iso"
    other.write_bytes(b"another ISO")
    for program in programs:
        for subject, good in ((iso, True), (other, False)):
            done = subprocess.run(
                [
                    *(program, "verify-blob-attestation", "--new-bundle-format"),
                    *("--insecure-ignore-tlog", "--trusted-root", root, "--type", PROVENANCE),
                    *("--key", key.with_suffix(".pub"), "--bundle", bundle_of(iso), subject),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            )
            assert (done.returncode == 0) == good, done.stderr
