"""What an unattended run publishes is signed, once and for all."""

from __future__ import annotations

from isobuilder.pipeline.provenance.signing import Signatures, demand
from isobuilder.publish.index import read_index
from isobuilder.trust.publickeys import read_keys
from tests.pipeline.signed import bundle_of, new_key
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
