"""What an unattended run publishes is signed, once and for all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

from isobuilder.digest import Digest
from isobuilder.model.loading import load_lock
from isobuilder.mold.api.commands import Mold
from isobuilder.pipeline.provenance.signing import Signatures, demand, sign_built
from isobuilder.publish.index import read_index
from isobuilder.trust.publickeys import read_keys
from isobuilder.trust.signers import open_signer
from tests.pipeline.signed import bundle_of, new_key, put_signature
from tests.pipeline.site import Site, site

__all__ = ["site"]


def test_every_iso_is_published_with_its_signature(site: Site) -> None:
    key = new_key(site.folder, "release")
    signing = {"key": str(key), "builder": "https://ci.example"}
    report = site.run(architectures=["amd64"], signing=signing)
    assert report.failed == []
    wanted = Signatures(read_keys([key.with_suffix(".pub")]))
    isos = read_index(site.published).isos
    assert len(isos) == 2
    for one in isos:
        (claim,) = demand(site.published / one.name, one.sha256, wanted)
        assert claim.builder == "https://ci.example"
    before = {path: path.read_bytes() for path in site.published.glob("*.*") if path.is_file()}
    site.run(architectures=["amd64"], signing=signing)
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(site.published.glob("*.sigstore.json"))) == 2


def test_a_signature_that_a_killed_run_published_stays(site: Site) -> None:
    key = new_key(site.folder, "release")
    signing = {"key": str(key)}
    site.run(architectures=["amd64"], minors=["1.34"], signing=signing)
    (one,) = read_index(site.published).isos
    signature = bundle_of(site.published / one.name)
    before = signature.read_bytes()
    (site.published / one.name).unlink()
    (site.published / "index.json").unlink()
    report = site.run(architectures=["amd64"], minors=["1.34"], signing=signing)
    assert report.failed == []
    assert signature.read_bytes() == before
    assert (site.published / one.name).is_file()


def signed_elsewhere(site: Site, name: str, builder: str) -> Path:
    """Let another builder sign the ISO that waits, and return the signature."""
    (iso,) = (site.published / ".work").glob("*.iso")
    lock = load_lock(iso.with_name(f"{iso.stem}.lock.json"))
    other = site.folder / name
    other.mkdir()
    shutil.copyfile(iso, other / iso.name)
    signer = open_signer(str(new_key(site.folder, name)), {})
    return sign_built(other / iso.name, Digest.of_file(iso), lock, signer, builder=builder).path


def test_an_iso_waits_until_enough_builders_have_signed(site: Site) -> None:
    key = new_key(site.folder, "a")
    new_key(site.folder, "b")
    by = {"keys": ["a.pub", "b.pub"], "signatures": 2, "folder": "signatures"}
    wanted: dict[str, Any] = {
        "architectures": ["amd64"],
        "minors": ["1.34"],
        "signing": {"key": str(key), "builder": "https://a.example"},
        "signed_by": by,
    }
    report = site.run(**wanted)
    (step,) = [step for step in report.steps if step.step == "publish"]
    assert step.state == "waits"
    assert "expected 2 builders with keys of their own, got 1: a for https://a.exam" in step.fact
    assert site.names() == []
    (ours,) = (site.folder / "signatures").iterdir()
    theirs = signed_elsewhere(site, "b", "https://b.example")
    shutil.copyfile(theirs, ours.with_name(ours.name.replace(".sigstore", ".b.sigstore")))
    assert site.run(**wanted).failed == []
    (name,) = site.names()
    (one,) = read_index(site.published).isos
    keys = read_keys([site.folder / "a.pub", site.folder / "b.pub"])
    assert len(demand(site.published / name, one.sha256, Signatures(keys, 2))) == 2
    assert [*(site.published / ".work").glob("*.iso")] == []
    assert all(step.state == "kept" for step in site.run(**wanted).steps if step.step == "publish")


def test_a_signature_of_another_digest_keeps_an_iso_from_being_published(site: Site) -> None:
    key = new_key(site.folder, "a")
    by = {"keys": ["a.pub"], "folder": "signatures"}
    wanted: dict[str, Any] = {"architectures": ["amd64"], "minors": ["1.34"], "signed_by": by}
    report = site.run(**wanted)
    (step,) = [step for step in report.steps if step.step == "publish"]
    assert (step.state, "no signature by a key that counts" in step.fact) == ("waits", True)
    (iso,) = (site.published / ".work").glob("*.iso")
    made = put_signature(site.folder / iso.name, Digest.of(b"another ISO"), key)
    made.rename(site.folder / "signatures" / made.name.replace(".sigstore", ".x.sigstore"))
    report = site.run(**wanted)
    assert "it is of another ISO" in report.failed[0].fact
    assert site.names() == []


def test_what_was_published_unsigned_is_registered_nowhere(site: Site) -> None:
    new_key(site.folder, "a")
    wanted: dict[str, Any] = {"architectures": ["amd64"], "minors": ["1.34"]}
    assert site.run(**wanted).failed == []
    report = site.run([cast("Mold", object())], **wanted, signed_by={"keys": ["a.pub"]})
    (step,) = [step for step in report.steps if step.step == "register"]
    assert (step.state, "no signature by a key that counts" in step.fact) == ("waits", True)


def test_a_policy_refuses_what_nobody_signed(site: Site) -> None:
    report = site.run(architectures=["amd64"], minors=["1.34"], trust=True)
    assert [(step.step, step.state) for step in report.failed] == [("publish", "failed")]
    assert "k8s/kubeadm: unsigned: " in report.failed[0].fact
    assert site.names() == []


def test_without_its_key_nothing_is_published(site: Site) -> None:
    report = site.run(
        architectures=["amd64"], minors=["1.34"], signing={"key": str(site.folder / "none.pem")}
    )
    assert "none.pem: cannot be read" in report.failed[0].fact
    assert site.names() == []
