"""No server is told of an ISO before its signature holds, where that is demanded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from tests.cli.test_mold import Typed, published, register_words, simulator, typed, web
from tests.fakes.mold import FakeMold
from tests.mold.conftest import Published
from tests.pipeline.signed import bundle_of, new_key, put_signature

__all__ = ["published", "simulator", "typed", "web"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path, "release")


def test_what_is_signed_for_this_digest_is_registered(
    typed: Typed, published: Published, key: Path
) -> None:
    put_signature(published.path, Digest.from_hex(published.registration.checksum.hex), key)
    done = typed(*register_words(published, "--signed-by", str(key.with_suffix(".pub"))))
    assert "signed by release (sha256:" in done.stderr
    assert done.stdout.count("Ready") == 2


@pytest.mark.parametrize("named", [".iso", ".registration.json"])
def test_a_signature_is_looked_for_beside_the_iso_whatever_its_name_is_now(
    named: str, typed: Typed, published: Published, key: Path, tmp_path: Path
) -> None:
    """As site apply writes it with another --out; its registration is as it was published."""
    renamed = tmp_path / "renamed"
    for end in (".iso", ".registration.json"):
        shutil.move(published.path.with_suffix(end), renamed.with_suffix(end))
    digest = Digest.from_hex(published.registration.checksum.hex)
    put_signature(renamed.with_suffix(".iso"), digest, key)
    signed = ("--signed-by", str(key.with_suffix(".pub")))
    words = ("--url", published.url, "--poll", "0.05s", *signed)
    done = typed("register", str(renamed.with_suffix(named)), *words)
    assert "signed by release (sha256:" in done.stderr
    base = published.url.rpartition("/")[0]
    assert typed("audit", str(tmp_path), "--url-base", base, *signed).exit_code == 0


@pytest.mark.parametrize("signed", ["not", "for another", "by one of two"])
def test_what_is_not_signed_is_registered_nowhere(
    typed: Typed, simulator: FakeMold, published: Published, key: Path, signed: str
) -> None:
    words = ["--signed-by", str(key.with_suffix(".pub"))]
    fact = "no signature by a key that counts"
    if signed == "for another":
        put_signature(published.path, Digest.of(b"an older one"), key)
        fact = "it is of another ISO"
    if signed == "by one of two":
        put_signature(published.path, Digest.from_hex(published.registration.checksum.hex), key)
        words += ["--signers", "2"]
        fact = "expected 2 builders with keys of their own, got 1"
    done = typed(*register_words(published, *words), code=5)
    assert fact in done.stderr
    assert simulator.log == []


def test_an_audit_tells_what_is_not_signed_and_no_plan_registers_it(
    typed: Typed, published: Published, key: Path, tmp_path: Path
) -> None:
    words = ("audit", str(published.path.parent), "--url-base", published.url.rpartition("/")[0])
    demanded = ("--signed-by", str(key.with_suffix(".pub")))
    plan = tmp_path / "plan.json"
    done = typed(*words, *demanded, "--plan", str(plan), code=9)
    assert "no signature by a key that counts" in done.stdout
    assert not plan.exists()
    put_signature(published.path, Digest.from_hex(published.registration.checksum.hex), key)
    done = typed(*words, *demanded, "--plan", str(plan), code=9)
    assert "unfit" not in done.stdout
    assert plan.exists()
    bundle_of(published.path).write_text("{}")
    done = typed(*words, *demanded, code=9)
    assert "expected a Sigstore bundle" in done.stdout
