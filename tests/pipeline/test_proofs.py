"""Proofs that a program was built again travel with lock and ISO, and count by builders' keys.

No program is built here, which takes minutes: `make rebuild`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.model.trust.claims import RebuiltProgram
from isobuilder.pipeline.build import Built, build
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.pipeline.provenance.proofs import add_proof
from isobuilder.pipeline.provenance.signing import sign_built
from isobuilder.pipeline.trust import Trust
from isobuilder.pipeline.verify import verify
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Store
from isobuilder.trust.evidence.policies import known_policies
from isobuilder.trust.publickeys import TrustedKeys, read_keys
from isobuilder.trust.rebuild.claims import signed_proof
from isobuilder.trust.rebuild.proof import RebuildProof
from isobuilder.trust.signers import open_signer
from tests.cli.calling import call, errors
from tests.fakes.sigstore import SmallSigstore
from tests.pipeline.signed import altered, bundle_of, copied, new_key, resigned
from tests.pipeline.world import Locked, World

DAY = datetime(2026, 11, 1, tzinfo=UTC)
ROOT = SmallSigstore().root


class Site:
    """A lock of one's own, with what two builders have to sign with."""

    def __init__(self, folder: Path, locked: Locked, session: Session) -> None:
        self.folder, self.session = folder, session
        self.path = folder / locked.path.name
        shutil.copyfile(locked.path, self.path)
        for name in ("a", "b"):
            new_key(folder, name)

    @property
    def lock(self) -> Lock:
        return load_lock(self.path)

    def proof(self, **changes: Any) -> RebuildProof:
        """Return what building kubeadm again came to, had it been built."""
        file = next(one for one in self.lock.files if one.name == "kubeadm")
        facts: dict[str, Any] = {
            "schema": 1,
            "name": file.name,
            "path": file.path,
            "architecture": "amd64",
            "sha256": file.sha256,
            "go": "1.26.8",
            "command": ("go", "build", "k8s.io/kubernetes/cmd/kubeadm"),
            "commit": "f78e722310e50bcaca9276be22276d9e91d91308",
            "date": "2026-09-23T17:06:22Z",
            "modules": ({"path": "k8s.io/kubernetes", "version": "v1.34.12", "h1": "h1:x="},),
            "sums": "sum.golang.org",
            "tool": "0.1.0",
        }
        return RebuildProof.model_validate(facts | changes)

    def signed(self, key: str, builder: str | None = None, **changes: Any) -> bytes:
        signer = open_signer(str(self.folder / f"{key}.pem"), {})
        who = builder or f"https://{key}.example"
        return signed_proof(self.proof(**changes), signer, builder=who, moment=DAY)

    def keys(self, *names: str) -> TrustedKeys:
        return read_keys([self.folder / f"{name}.pub" for name in names])

    def add(self, data: bytes, *builders: str) -> None:
        keys = self.keys(*builders) if builders else None
        add_proof(self.path, data, "proof.json", self.session, keys)

    def built(self, *builders: str) -> list[str]:
        """Return what a build of the lock says of proofs, by the keys of ``builders``."""
        trust = Trust(ROOT, {}, self.keys(*builders) if builders else None)
        made = build(self.lock, self.folder / "dist", self.session, trust=trust, replace=True)
        return [str(line) for line in made.signatures]


@pytest.fixture
def site(tmp_path: Path, locked: Locked, session: Session) -> Site:
    return Site(tmp_path, locked, session)


def test_a_proof_goes_into_the_lock_beside_it_and_onto_the_iso(
    site: Site, world: World, tmp_path: Path
) -> None:
    site.add(site.proof().to_bytes())
    beside = site.folder / "kubernetes-1.34.12.amd64.evidence" / "kubeadm.rebuilt.json"
    assert beside.read_bytes() == site.proof().to_bytes()
    made = build(site.lock, tmp_path / "one", site.session)
    with open_session(world.config, Store(tmp_path / "elsewhere")) as elsewhere:
        assert build(site.lock, tmp_path / "two", elsewhere).digest == made.digest
    result = verify(made.iso, lock=site.lock, trust=Trust(ROOT, {}))
    assert result.findings == ()
    assert result.signatures == ()
    (end,) = [one for one in result.not_proved if "rebuilt from source" in one]
    assert end.startswith("that k8s/kubeadm was rebuilt from source (commit f78e7223")
    assert end.endswith("1 modules as sum.golang.org has them): nobody signed that")
    once = site.path.read_bytes()
    site.add(site.proof().to_bytes())
    assert site.path.read_bytes() == once


def test_builders_are_counted_by_their_keys(site: Site) -> None:
    site.add(site.signed("a"))
    assert site.built("a", "b") == [
        "rebuilt from source: k8s/kubeadm (kubeadm): by 1 builder (https://a.example), commit "
        "f78e722310e50bcaca9276be22276d9e91d91308, Go 1.26.8, 1 modules as sum.golang.org has them"
        f", evidence/kubeadm.rebuilt.{site.keys('a').keys[0].public.fingerprint.hex[:12]}"
        ".sigstore.json"
    ]
    site.add(site.signed("b"))
    (line,) = site.built("a", "b")
    assert "by 2 builders (https://a.example, https://b.example)" in line
    assert line.count(".sigstore.json") == 2


def test_one_builder_with_two_keys_is_one(site: Site) -> None:
    site.add(site.signed("a"))
    site.add(site.signed("b", builder="https://a.example"))
    assert "by 1 builder (https://a.example)" in site.built("a", "b")[0]


def test_a_newer_proof_of_a_key_takes_the_place_of_its_older_one(site: Site) -> None:
    site.add(site.signed("a", tool="0.0.9"))
    site.add(site.signed("a"))
    trust = site.lock.trust
    assert trust is not None
    assert len(trust.files) == 1


def test_a_proof_by_an_unknown_key_does_not_count(site: Site) -> None:
    site.add(site.signed("a"))
    with pytest.raises(IntegrityError, match=r"k8s/kubeadm: evidence/\S+: by another key, sha256:"):
        site.built("b")
    assert not (site.folder / "dist").exists() or [*(site.folder / "dist").iterdir()] == []
    assert site.built() == []  # nobody's key was named: nothing is proved, and nothing is wrong


def test_a_stranger_beside_a_builder_who_counts_is_told(site: Site) -> None:
    site.add(site.signed("a"))
    site.add(site.signed("b"))
    made = build(site.lock, site.folder, site.session)
    result = verify(made.iso, trust=Trust(ROOT, {}, site.keys("a")))
    assert [line.builders for line in result.signatures] == [1]
    (finding,) = [one for one in result.findings if one.rule == "trust.rebuilt"]
    assert finding.severity == "warning"
    assert "does not count: by another key" in finding.fact


def test_a_policy_demands_so_many_builders(site: Site, tmp_path: Path) -> None:
    policy = tmp_path / "policies.yaml"
    who = "files: {identity: a@b.example, issuer: 'https://c.example'}"
    text = (
        f"schema: 1\npolicies:\n  mine: {{{who}, paths: [k8s/kubeadm], rebuilt: 2, level: LEVEL}}\n"
    )
    site.add(site.signed("a"))

    def facts(level: str) -> list[str]:
        policy.write_text(text.replace("LEVEL", level))
        trust = Trust(ROOT, {"mine": known_policies(policy)["mine"]}, site.keys("a", "b"))
        made = build(site.lock, site.folder / "made", site.session, replace=True)
        found = verify(made.iso, trust=trust).findings
        return [f"{one.severity}: {one.fact}" for one in found if one.rule == "trust.rebuilt"]

    lacks = "expected 2 builders who rebuilt it from source, got 1"
    assert facts("needed") == [f"error: {lacks}"]
    assert facts("wanted") == [f"warning: {lacks}"]
    site.add(site.signed("b"))
    assert facts("needed") == []
    policy.write_text(text.replace("paths: [k8s/kubeadm], ", "").replace("LEVEL", "needed"))
    with pytest.raises(InputError, match="rebuilt is about paths, and there are none"):
        known_policies(policy)


def test_a_revoked_key_counts_for_nothing(site: Site) -> None:
    site.add(site.signed("a"))
    key = site.keys("a").keys[0].public.fingerprint
    gone = TrustedKeys(site.keys("a").keys, {key: "laptop lost"})
    with pytest.raises(IntegrityError, match=r"the key a \(sha256:.* was revoked: laptop lost"):
        build(site.lock, site.folder / "dist", site.session, trust=Trust(ROOT, {}, gone))


# --- at the door of a lock ---


def other_digest(site: Site) -> bytes:
    return site.signed("a", sha256=Digest.of(b"another kubeadm"))


def other_file(site: Site) -> bytes:
    return site.signed("a", name="kubelet", path="k8s/kubelet")


def other_architecture(site: Site) -> bytes:
    return site.signed("a", architecture="arm64")


def cut_off(site: Site) -> bytes:
    return site.proof().to_bytes()[:-20]


def no_modules(site: Site) -> bytes:
    return site.proof().to_bytes().replace(b"h1:x=", b"").replace(b"v1.34.12", b"\\u0000")


def forged(site: Site) -> bytes:
    path = site.folder / "x.json"
    path.write_bytes(site.signed("a"))
    resigned(path, site.folder / "b.pem", lambda statement: None)
    return path.read_bytes()


def about_more(site: Site) -> bytes:
    path = site.folder / "x.json"
    path.write_bytes(site.signed("a"))
    more = {"name": "k8s/kubelet", "digest": {"sha256": "ab" * 32}}
    resigned(path, site.folder / "a.pem", lambda one: one["subject"].append(more))
    return path.read_bytes()


def without_key(site: Site) -> bytes:
    path = site.folder / "x.json"
    path.write_bytes(site.signed("a"))
    altered(path, lambda data: data["verificationMaterial"]["publicKey"].clear())
    return path.read_bytes()


def signature_of_the_iso(site: Site) -> bytes:
    """It names kubeadm among what is on the ISO, and says nothing of its source."""
    made = build(site.lock, site.folder, site.session)
    signer = open_signer(str(site.folder / "a.pem"), {})
    sign_built(made.iso, made.digest, made.lock, signer)
    return bundle_of(made.iso).read_bytes()


BAD: list[tuple[Callable[[Site], bytes], str]] = [
    (other_digest, r"proof\.json: it is about kubeadm for amd64 sha256:\w+, the lock has sha256:"),
    (other_file, r"proof\.json: it is about kubelet for amd64 sha256:\w+, the lock has sha256:"),
    (other_architecture, r"proof\.json: it is about kubeadm for arm64 sha256:\w+, the lock has"),
    (cut_off, r"proof\.json"),
    (no_modules, r"proof\.json:\d+:\d+: modules\[0\]"),
    (forged, "its signature is not of the key a"),
    (about_more, r"proof\.json: its statement is not about sha256:\w+ alone"),
    (without_key, r"proof\.json: a signed statement that names no key"),
    (signature_of_the_iso, "a signed statement that names no program that was built again"),
]


@pytest.mark.parametrize(("make", "why"), BAD, ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_no_proof_of_a_program_of_the_lock_stays_outside(
    make: Callable[[Site], bytes], why: str, site: Site
) -> None:
    data, before = make(site), site.path.read_bytes()
    with pytest.raises(IntegrityError, match=why):
        site.add(data, "a")
    assert site.path.read_bytes() == before


def test_a_proof_of_what_the_lock_does_not_have_is_refused(site: Site) -> None:
    with pytest.raises(InputError, match="kubeproxy: has no file of that name"):
        site.add(site.proof(name="kubeproxy").to_bytes())


def test_proofs_that_contradict_each_other_are_refused(site: Site) -> None:
    site.add(site.signed("a"))
    with pytest.raises(IntegrityError, match="it does not say the same as"):
        site.add(site.signed("b", commit="0" * 40))


# --- on an ISO that somebody made ---


def placed(site: Site, data: bytes, kind: str = "signed-proof", **changes: Any) -> None:
    """Put a text into the evidence of the lock, as somebody can who makes ISOs."""
    site.add(site.signed("a"))
    trust = site.lock.trust
    assert trust is not None
    (program,) = trust.rebuilt
    path = program.evidence[0].path
    one = {"kind": kind, "path": path, "sha256": Digest.of(data), "size": len(data)}
    told = program.model_dump() | {"evidence": (one,)} | changes
    rebuilt = (RebuiltProgram.model_validate(told),)
    site.session.store.add_bytes(data)
    lock = site.lock.model_copy(update={"trust": trust.model_copy(update={"rebuilt": rebuilt})})
    site.path.write_bytes(lock.to_bytes())
    (site.folder / str(trust.folder) / Path(path).name).write_bytes(data)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (other_digest, r"it is about sha256:\w+, not about sha256:"),
        (other_file, "it is about kubelet, not about kubeadm"),
        (cut_off, r"evidence/kubeadm\.rebuilt"),
        (forged, "its signature is not of the key a"),
        (signature_of_the_iso, "names no program that was built again"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_an_iso_whose_proof_is_none_is_refused_with_the_claim(
    make: Callable[[Site], bytes], why: str, site: Site
) -> None:
    placed(site, make(site))
    with pytest.raises(IntegrityError, match=f"k8s/kubeadm: .*{why}|{why}"):
        site.built("a")


def test_a_proof_of_another_program_than_lies_there_is_refused(site: Site) -> None:
    placed(site, site.signed("a"), sha256=Digest.of(b"another kubeadm"))
    with pytest.raises(IntegrityError, match=r"k8s/kubeadm: sha256:\w+ was built again, which is"):
        site.built("a")


def test_a_proof_that_is_not_on_the_iso_is_missed(site: Site) -> None:
    """Whoever makes an ISO by other means may leave it out."""
    site.add(site.signed("a"))
    made = build(site.lock, site.folder, site.session)
    data = made.iso.read_bytes()
    assert data.count(b"signed-proof") == 1
    made.iso.write_bytes(data.replace(b"evidence/kubeadm.rebuilt", b"evidence/kubectl.rebuilt"))
    result = verify(made.iso, trust=Trust(ROOT, {}, site.keys("a")))
    (fact,) = [one.fact for one in result.findings if one.rule == "trust.rebuilt"]
    assert fact.endswith("it is not on the ISO")


# --- made again, and the command ---


def test_a_lock_that_is_made_again_keeps_the_proofs_of_what_is_the_same(
    site: Site, world: World
) -> None:
    site.add(site.signed("a"))
    before = site.path.read_bytes()
    again = lock_recipe(world.recipe, "amd64", site.session, output=site.path)
    assert again.lock.trust is not None
    kept = load_lock(site.path).trust
    assert kept is not None
    assert [program.subject for program in kept.rebuilt] == ["kubeadm"]
    assert kept.rebuilt == again.lock.trust.rebuilt
    shown = json.loads(before)
    file = next(one for one in shown["files"] if one["name"] == "kubeadm")
    other = str(Digest.of(b"another kubeadm"))
    site.path.write_text(json.dumps(shown).replace(file["sha256"], other))
    assert lock_recipe(world.recipe, "amd64", site.session, output=site.path).lock.trust is None


def test_a_proof_whose_text_is_gone_is_named(site: Site, world: World, tmp_path: Path) -> None:
    site.add(site.signed("a"))
    shutil.rmtree(site.folder / "kubernetes-1.34.12.amd64.evidence")
    with (
        open_session(world.config, Store(tmp_path / "elsewhere")) as elsewhere,
        pytest.raises(EnvironmentProblem, match=r"evidence/kubeadm\.rebuilt\.\w+\.sigstore\.json"),
    ):
        add_proof(site.path, site.signed("b"), "proof.json", elsewhere)


def test_a_lock_that_is_shipped_or_beside_its_iso_stays_as_it_is(
    site: Site, world: World, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isobuilder.pipeline.provenance import rebuild

    monkeypatch.setattr(rebuild, "rebuilt", lambda *_: site.proof())
    monkeypatch.chdir(site.folder)
    lock = copied(built, site.folder / "dist").with_suffix(".lock.json")
    before = lock.read_bytes()
    settings = ["--config", str(world.config_file), "--store", str(site.session.store.root)]
    for source in (lock, "1.37.1"):
        done = call(*settings, "trust", "rebuild", source, "--file", "kubeadm")
        assert "a lock that is shipped, or beside its ISO, stays" in done.stderr
        done = call(*settings, "trust", "rebuild", source, "--file", "kubeadm", "--out", "proofs")
        assert done.stdout.splitlines()[-1].endswith(".kubeadm.rebuilt.json")
    assert lock.read_bytes() == before
    (site.folder / "mine.json").write_bytes(site.signed("a"))
    (line,) = errors(call(*settings, "trust", "add", lock, "mine.json", code=3))
    assert "is the lock of the ISO beside it" in line


def test_the_commands_put_proofs_into_a_lock_and_tell_what_they_come_to(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isobuilder.pipeline.provenance import rebuild

    monkeypatch.setattr(rebuild, "rebuilt", lambda *_: site.proof())
    settings: list[str | Path] = ["--config", world.config_file, "--store", site.session.store.root]
    words: list[str | Path] = [*settings, "trust", "rebuild", site.path, "--file", "kubeadm"]
    key: list[str | Path] = [
        "--sign",
        "--key",
        site.folder / "a.pem",
        "--builder",
        "https://a.example",
    ]
    done = call(*words, *key, "--out", site.folder)
    assert "identical: kubeadm for amd64: sha256:" in done.stdout
    assert "added: evidence/kubeadm.rebuilt." in done.stderr
    theirs = site.folder / "b.json"
    theirs.write_bytes(site.signed("b"))
    both: list[str | Path] = [
        "--builders",
        site.folder / "a.pub",
        "--builders",
        site.folder / "b.pub",
    ]
    done = call(*settings, "trust", "add", site.path, theirs, *both)
    assert ", 2 builders that count" in done.stdout
    (again,) = json.loads(
        call(*settings, "trust", "add", site.path, theirs, *both, "--json").stdout
    )
    assert (again["new"], again["said"]["proof"]["schema"]) == (False, 1)
    (site.folder / "bad.json").write_bytes(other_digest(site))
    done = call(*settings, "trust", "add", site.path, site.folder / "bad.json", code=5)
    assert "bad.json: it is about kubeadm for amd64 sha256:" in errors(done)[0]
    made = build(site.lock, site.folder / "dist", site.session)
    done = call("verify", made.iso, "--trust", *both, code=5)  # for nobody signed it upstream
    assert "rebuilt from source: k8s/kubeadm (kubeadm): by 2 builders (https://a.example, " in (
        done.stdout
    )
    found = json.loads(call("verify", made.iso, "--trust", *both, "--json", code=5).stdout)
    (line,) = found["signatures"]
    assert (line["status"], line["builders"]) == ("rebuilt from source", 2)
    call("verify", made.iso, *both, code=2)
