"""What is captured when an ISO is locked, and what it proves when nobody can be asked any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pysequoia
import pytest

from isobuilder.demo.content import fill, write_recipes
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.model.loading import load_recipe
from isobuilder.model.lock import Lock, LockedFile, LockedImage
from isobuilder.model.recipe import Recipe
from isobuilder.model.trust.claims import SignatureClaim
from isobuilder.model.trust.policies import RecipeTrust
from isobuilder.pipeline.build import Built, build
from isobuilder.pipeline.evidence import with_evidence
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.pipeline.trust import Trust
from isobuilder.pipeline.verify import Verification, verify
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Store
from isobuilder.trust.evidence.bundle import write_bundle
from isobuilder.trust.evidence.policies import known_policies
from isobuilder.trust.evidence.root import load_root
from tests.cli.calling import call
from tests.fakes.signed_upstream import SignedUpstream, write_policies
from tests.fakes.sigstore import RELEASER, SmallSigstore, pem
from tests.fakes.upstream import FakeUpstream
from tests.pipeline.world import World, write_config

PROGRAMS = ("kubeadm", "kubelet", "kubectl")
Capture = Callable[[LockedImage], SignatureClaim]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        fill(upstream)
        yield upstream


@pytest.fixture(scope="module")
def signed(upstream: FakeUpstream) -> SignedUpstream:
    return SignedUpstream(upstream, SmallSigstore())


@pytest.fixture(scope="module")
def folder(signed: SignedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    (folder / "root.json").write_bytes(signed.sigstore.root_data())
    write_policies(folder / "policies.yaml")
    write_policies(folder / "wanted.yaml", level="wanted")
    plain, _ = write_recipes(folder)
    text = plain.read_text()
    for name in PROGRAMS:
        path = f"    path: k8s/{name}\n"
        text = text.replace(path, f"{path}    signature: kubernetes\n")
    plain.write_text(text)
    return folder


@pytest.fixture(scope="module")
def world(signed: SignedUpstream, folder: Path) -> World:
    recipe = folder / "kubernetes-1.34.12.yaml"
    config = write_config(folder / "config.yaml", signed.upstream)
    return World(signed.upstream, recipe, recipe, config)


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store(folder / "store")


def opened(
    world: World, store: Store, folder: Path, policies: str = "policies.yaml"
) -> AbstractContextManager[Session]:
    settings = {"policies": str(folder / policies), "trusted_root": str(folder / "root.json")}
    config = world.config.model_copy(update=settings)
    return open_session(config, store)


@pytest.fixture(scope="module")
def session(world: World, store: Store, folder: Path) -> Iterator[Session]:
    with opened(world, store, folder) as session:
        yield session


@pytest.fixture(scope="module")
def wanting(world: World, store: Store, folder: Path) -> Iterator[Session]:
    """Settings under which a signature is wanted, not needed."""
    with opened(world, store, folder, "wanted.yaml") as session:
        yield session


@pytest.fixture(scope="module")
def unsigned(wanting: Session, world: World) -> Lock:
    """The lock before anything was signed."""
    output = world.recipe.parent / "unsigned.lock.json"
    return lock_recipe(world.recipe, "amd64", wanting, output=output).lock


@pytest.fixture(scope="module")
def recipe(world: World) -> Recipe:
    """A recipe that names the policy by itself, also where no file of a small lock does."""
    named = {"trust": RecipeTrust.model_validate({"policies": {}, "needed": ("kubernetes",)})}
    return load_recipe(world.recipe, "amd64").model_copy(update=named)


@pytest.fixture(scope="module")
def mild(world: World) -> Recipe:
    return load_recipe(world.recipe, "amd64")


def kubeadm_of(lock: Lock) -> LockedFile:
    return next(file for file in lock.files if file.name == "kubeadm")


def pause_of(lock: Lock) -> LockedImage:
    return next(image for image in lock.images if "/pause:" in image.reference)


def only(lock: Lock, *parts: LockedFile | LockedImage) -> Lock:
    nothing: dict[str, object] = {"manifests": (), "render": (), "components": {}, "trust": None}
    files = tuple(one for one in parts if isinstance(one, LockedFile))
    images = tuple(one for one in parts if isinstance(one, LockedImage))
    return lock.model_copy(update={**nothing, "files": files, "images": images})


def captured(lock: Lock, recipe: Recipe, session: Session) -> SignatureClaim:
    found = with_evidence(lock, recipe, session, folder="x.evidence", before=None)
    assert found.trust is not None
    (claim,) = found.trust.claims
    return claim


def test_what_upstream_does_not_sign_is_locked_as_unsigned(unsigned: Lock) -> None:
    assert unsigned.trust is not None
    claims = {claim.subject: claim for claim in unsigned.trust.claims}
    assert claims["kubeadm"].status == "unsigned"
    assert claims["kubeadm"].why.startswith("there is no https://dl.k8s.io/")
    assert all(claim.status == "unsigned" for claim in claims.values())
    assert any(name.startswith("registry.k8s.io/pause") for name in claims)


def test_a_policy_that_needs_a_signature_refuses_a_lock_without_one(
    unsigned: Lock, recipe: Recipe, session: Session
) -> None:
    lock = only(unsigned, kubeadm_of(unsigned))
    with pytest.raises(IntegrityError, match="kubeadm: the policy kubernetes needs a signature of"):
        with_evidence(lock, recipe, session, folder="x.evidence", before=None)


# --- files ---


@pytest.fixture
def kubeadm(unsigned: Lock) -> LockedFile:
    """A kubeadm of another address for each test, so that none sees another's signature."""
    return kubeadm_of(unsigned)


def test_a_signature_and_a_certificate_become_a_bundle_with_the_logs_proof(
    unsigned: Lock, kubeadm: LockedFile, recipe: Recipe, session: Session, signed: SignedUpstream
) -> None:
    signed.sign_file(kubeadm.url, kubeadm.sha256)
    claim = captured(only(unsigned, kubeadm), recipe, session)
    assert claim.status == "signed"
    (text,) = claim.evidence
    assert text.path == "evidence/kubeadm.sigstore.json"
    blob = session.store.find(text.sha256)
    assert blob is not None
    entry = json.loads(blob.read())["verificationMaterial"]["tlogEntries"][0]
    assert entry["inclusionProof"]["checkpoint"]["envelope"].startswith("log.example.org - ")


def wrong_identity(it: SignedUpstream, file: LockedFile) -> None:
    it.sign_file(file.url, file.sha256, identity="somebody@example.org")


def wrong_issuer(it: SignedUpstream, file: LockedFile) -> None:
    it.sign_file(file.url, file.sha256, issuer="https://elsewhere.example.org")


def of_other_bytes(it: SignedUpstream, file: LockedFile) -> None:
    it.sign_file(file.url, Digest.of(b"other bytes"))


def never_logged(it: SignedUpstream, file: LockedFile) -> None:
    bundle = it.sigstore.sign(file.sha256)
    assert bundle.certificate is not None
    it.put_pair(file.url, bundle.signed_with, pem(bundle.certificate))


def no_certificate(it: SignedUpstream, file: LockedFile) -> None:
    it.put_pair(file.url, b"a signature", b"no certificate")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (wrong_identity, rf"signer: expected {RELEASER} \(logged in at .*\), found somebody@"),
        (wrong_issuer, r"signer: expected .*, found .* \(logged in at https://elsewhere\."),
        (of_other_bytes, r"log: the entry is of sha256:\w+, not sha256:"),
        (never_logged, "no log has an entry of it: https://log.example.org"),
        (no_certificate, "not a certificate"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_signature_of_others_or_of_other_bytes_is_refused_or_told(
    spoil: Callable[[SignedUpstream, LockedFile], None],
    why: str,
    unsigned: Lock,
    kubeadm: LockedFile,
    recipe: Recipe,
    mild: Recipe,
    session: Session,
    wanting: Session,
    signed: SignedUpstream,
) -> None:
    spoil(signed, kubeadm)
    with pytest.raises(IntegrityError, match=why):
        captured(only(unsigned, kubeadm), recipe, session)
    claim = captured(only(unsigned, kubeadm), mild, wanting)
    assert claim.status == "unsigned"
    assert claim.evidence == ()


def test_a_file_that_names_an_unknown_policy_is_an_error_of_the_recipe(
    unsigned: Lock, kubeadm: LockedFile, recipe: Recipe, session: Session
) -> None:
    evidence = kubeadm.evidence.model_copy(update={"signature": "kubernets"})
    odd = kubeadm.model_copy(update={"evidence": evidence})
    with pytest.raises(InputError, match="there is no signature policy 'kubernets'") as caught:
        captured(only(unsigned, odd), recipe, session)
    assert "kubernetes" in (caught.value.hint or "")


# --- images ---


@pytest.fixture
def pause(unsigned: Lock) -> LockedImage:
    return pause_of(unsigned)


def kinds(claim: SignatureClaim) -> list[str]:
    return [one.kind for one in claim.evidence]


def evidence_words(claim: SignatureClaim, session: Session, world: SignedUpstream) -> str:
    from isobuilder.trust.evidence.claims import prove

    policy = known_policies()["kubernetes"].images
    assert policy is not None
    expected = policy.model_copy(
        update={"identity": RELEASER, "issuer": "https://accounts.example.org"}
    )

    def body(one: object) -> bytes:
        blob = session.store.find(one.sha256)  # type: ignore[attr-defined]
        assert blob is not None
        return blob.read()

    (line,) = prove(claim, expected, body, lambda: b"", world.sigstore.root)
    return line.evidence


def test_the_proof_of_an_images_signature_is_fetched_by_its_place_in_the_log(
    unsigned: Lock, pause: LockedImage, recipe: Recipe, session: Session, signed: SignedUpstream
) -> None:
    signed.sign_image(pause.parsed, pause.digest)
    claim = captured(only(unsigned, pause), recipe, session)
    assert claim.status == "signed"
    assert kinds(claim) == ["bundle", "payload"]
    assert evidence_words(claim, session, signed) == "log proof of log.example.org"


def test_where_the_log_cannot_be_asked_its_promise_is_kept(
    unsigned: Lock, pause: LockedImage, recipe: Recipe, session: Session, signed: SignedUpstream
) -> None:
    signed.sign_image(pause.parsed, pause.digest)
    signed.log_is_there = False
    try:
        claim = captured(only(unsigned, pause), recipe, session)
    finally:
        signed.log_is_there = True
    assert evidence_words(claim, session, signed) == "log promise of log.example.org"


def test_a_signature_of_the_index_counts_with_the_index_that_has_the_image(
    unsigned: Lock, pause: LockedImage, recipe: Recipe, session: Session, signed: SignedUpstream
) -> None:
    assert pause.index is not None
    signed.put_tag(pause.parsed, pause.digest, [])
    signed.sign_image(pause.parsed, pause.index)
    claim = captured(only(unsigned, pause), recipe, session)
    assert kinds(claim) == ["bundle", "payload", "index"]


def test_of_several_signatures_the_good_one_is_kept(
    unsigned: Lock, pause: LockedImage, recipe: Recipe, session: Session, signed: SignedUpstream
) -> None:
    name = str(pause.parsed)
    signatures = [
        signed.image_signature(pause.digest, name, identity="somebody@example.org"),
        signed.image_signature(pause.digest, name),
        (b"{}", {"dev.cosignproject.cosign/signature": "!"}),
    ]
    signed.put_tag(pause.parsed, pause.digest, signatures)
    claim = captured(only(unsigned, pause), recipe, session)
    assert kinds(claim) == ["bundle", "payload"]


def test_a_signature_that_names_another_image_is_refused(
    unsigned: Lock, pause: LockedImage, recipe: Recipe, session: Session, signed: SignedUpstream
) -> None:
    assert pause.index is not None
    other = Digest.of(b"another image")
    signed.put_tag(pause.parsed, pause.digest, [signed.image_signature(other, "x")])
    signed.put_tag(pause.parsed, pause.index, [])
    with pytest.raises(IntegrityError, match=f"it is of the image {other}, not of {pause.digest}"):
        captured(only(unsigned, pause), recipe, session)


@pytest.fixture
def pause_without_tags(signed: SignedUpstream, pause: LockedImage) -> LockedImage:
    """An image of which only referrers can tell who signed it."""
    for digest in (pause.digest, pause.index):
        assert digest is not None
        signed.put_tag(pause.parsed, digest, [])
    return pause


@pytest.fixture
def capture(unsigned: Lock, recipe: Recipe, session: Session) -> Capture:
    return lambda image: captured(only(unsigned, image), recipe, session)


def test_a_bundle_that_hangs_on_an_image_as_a_referrer_is_found(
    pause_without_tags: LockedImage, capture: Capture, session: Session, signed: SignedUpstream
) -> None:
    pause = pause_without_tags
    signed.put_referrer(pause.parsed, pause.digest, signed.sigstore.attest(pause.digest))
    claim = capture(pause)
    assert kinds(claim) == ["bundle"]
    assert "statement https://example.org/v1" in evidence_words(claim, session, signed)


@pytest.mark.parametrize("lie", ["text", "image", "another", "annotations"])
def test_referrers_and_tags_that_are_not_what_their_types_say_are_told(
    lie: str, pause_without_tags: LockedImage, capture: Capture, signed: SignedUpstream
) -> None:
    """A bundle that is none, an image, a statement about another; a signed text that is none."""
    pause = pause_without_tags
    good = signed.sigstore.attest(Digest.of(b"another") if lie == "another" else pause.digest)
    data = {"text": b"<html>", "image": b'{"schemaVersion": 2}'}.get(lie, write_bundle(good))
    signed.put_text_as_referrer(pause.parsed, pause.digest, data)
    if lie == "annotations":
        text, notes = signed.image_signature(pause.digest, "x")
        signed.put_tag(pause.parsed, pause.digest, [(b"\xff" + text, notes), (text, {})])
        signed.put_text_as_referrer(pause.parsed, pause.digest, b"{}")
    with pytest.raises(IntegrityError, match="the policy kubernetes needs a signature of"):
        capture(pause)


@pytest.mark.parametrize("lie", ["subject", "type", "loop", "index"])
def test_referrers_that_loop_or_lie_are_not_believed(
    lie: str, pause_without_tags: LockedImage, capture: Capture, signed: SignedUpstream
) -> None:
    pause = pause_without_tags
    bundle = signed.sigstore.attest(pause.digest)
    told: dict[str, object] = {}
    if lie == "subject":
        told = {"subject": Digest.of(b"another")}
    elif lie == "type":
        told = {"kind": "application/vnd.example.nothing"}
    signed.put_referrer(pause.parsed, pause.digest, bundle, **told)  # type: ignore[arg-type]
    if lie in {"loop", "index"}:
        itself = pause.digest if lie == "loop" else pause.index
        signed.put_referrer(
            pause.parsed,
            pause.digest,
            bundle,
            subject=Digest.of(b"nobody"),
            more=[{"mediaType": "application/json", "digest": str(itself), "size": 7}],
        )
    with pytest.raises(IntegrityError, match="no signature under a tag and none among the referr"):
        capture(pause)


# --- from the ISO alone ---


@pytest.fixture(scope="module")
def whole(
    unsigned: Lock, session: Session, signed: SignedUpstream, world: World, folder: Path
) -> Built:
    """The ISO of the whole recipe, everything of Kubernetes signed."""
    for file in unsigned.files:
        if file.name in PROGRAMS:
            signed.sign_file(file.url, file.sha256)
    for image in unsigned.images:
        if image.reference.startswith("registry.k8s.io/"):
            signed.sign_image(image.parsed, image.digest)
    locked = lock_recipe(world.recipe, "amd64", session)
    assert locked.lock.trust is not None
    return build(locked.lock, folder / "dist", session)


@pytest.fixture
def trust(folder: Path) -> Trust:
    return Trust(load_root(folder / "root.json"), known_policies(folder / "policies.yaml"))


def facts(result: Verification) -> list[str]:
    return [f"{one.place}: {one.fact}" for one in result.findings if one.rule == "trust.signature"]


def test_an_iso_proves_who_signed_what_without_a_network(whole: Built, trust: Trust) -> None:
    result = verify(whole.iso, trust=trust)
    assert result.findings == ()
    lines = {line.path: line for line in result.signatures}
    assert {f"k8s/{name}" for name in PROGRAMS} <= lines.keys()
    line = lines["k8s/kubeadm"]
    assert str(line) == (
        f"signed: k8s/kubeadm (kubeadm): by {RELEASER}, 2026-11-01 12:01:00 UTC, "
        "log proof of log.example.org: evidence/kubeadm.sigstore.json"
    )
    assert len([path for path in lines if path.startswith("docker/")]) > 5
    assert any("who made the other" in end for end in result.not_proved)


def test_the_command_tells_it_line_by_line_and_to_machines(whole: Built, folder: Path) -> None:
    options = ("--trusted-root", folder / "root.json", "--policies", folder / "policies.yaml")
    done = call("verify", whole.iso, "--trust", *options)
    assert f"signed: k8s/kubeadm (kubeadm): by {RELEASER}, 2026-11-01 12:01:00 UTC" in done.stdout
    found = json.loads(call("verify", whole.iso, "--trust", "--json", *options).stdout)
    line = next(one for one in found["signatures"] if one["path"] == "k8s/kubeadm")
    assert line["by"] == RELEASER
    told = json.loads(call("site", "check", whole.iso, "--trust", "--json", *options).stdout)
    assert told["isos"][0]["trust"] == found["signatures"]
    assert line["moment"] == "2026-11-01T12:01:00+00:00"
    assert found["findings"] == []


def test_an_iso_with_evidence_is_its_locks_byte_for_byte(whole: Built, trust: Trust) -> None:
    result = verify(whole.iso, lock=whole.lock, expected=whole.digest, trust=trust)
    assert result.findings == ()
    assert "files" in result.proved


def test_a_lock_is_made_again_with_the_evidence_that_it_has(
    whole: Built, session: Session, world: World, signed: SignedUpstream
) -> None:
    """Though the log has grown since, and would give another proof."""
    signed.sigstore.log.bodies += [b'{"grown": 1}'] * 5
    again = lock_recipe(world.recipe, "amd64", session)
    assert again.changed is False


def test_evidence_lies_beside_the_lock_for_builds_elsewhere(
    whole: Built, world: World, folder: Path, tmp_path: Path
) -> None:
    from isobuilder.model.loading import load_lock

    lock = load_lock(folder / "kubernetes-1.34.12.amd64.lock.json")
    assert (folder / "kubernetes-1.34.12.amd64.evidence" / "kubeadm.sigstore.json").is_file()
    with opened(world, Store(tmp_path / "store"), folder) as elsewhere:
        assert build(lock, tmp_path, elsewhere).digest == whole.digest


def test_under_another_root_nothing_is_proved(whole: Built, trust: Trust) -> None:
    stranger = Trust(SmallSigstore().root, trust.policies)
    result = verify(whole.iso, trust=stranger)
    assert not result.passed
    assert all("is no log that the trusted root has" in fact for fact in facts(result))


def test_others_than_the_policy_expects_are_named(whole: Built, trust: Trust) -> None:
    result = verify(whole.iso, trust=replace(trust, policies=known_policies()))
    assert any(f"found {RELEASER}" in fact for fact in facts(result))
    assert not result.passed


def test_an_iso_without_evidence_is_unsigned_and_not_good(
    unsigned: Lock, session: Session, trust: Trust, tmp_path: Path
) -> None:
    bare = build(unsigned.model_copy(update={"trust": None}), tmp_path, session)
    result = verify(bare.iso, trust=trust)
    assert not result.passed
    assert "k8s/kubeadm: unsigned: the policy kubernetes expects a signature" in " ".join(
        facts(result)
    )
    wanted = known_policies(Path(session.config.policies or "").with_name("wanted.yaml"))
    told = verify(bare.iso, trust=replace(trust, policies=wanted))
    assert told.passed
    assert told.signatures == ()
    assert {one.severity for one in told.findings} == {"warning"}


def rebuilt(
    whole: Built, session: Session, folder: Path, change: Callable[[SignatureClaim], SignatureClaim]
) -> Path:
    """Build an ISO whose claims were changed by somebody who can make ISOs."""
    assert whole.lock.trust is not None
    claims = tuple(change(claim) for claim in whole.lock.trust.claims)
    trust = whole.lock.trust.model_copy(update={"claims": claims})
    return build(whole.lock.model_copy(update={"trust": trust}), folder, session).iso


def test_evidence_that_is_another_files_is_refused(
    whole: Built, session: Session, trust: Trust, tmp_path: Path
) -> None:
    assert whole.lock.trust is not None
    other = whole.lock.trust.claim_of("k8s/kubectl")
    assert other is not None

    def swap(claim: SignatureClaim) -> SignatureClaim:
        wanted = claim.path == "k8s/kubeadm"
        return claim.model_copy(update={"evidence": other.evidence}) if wanted else claim

    (fact,) = facts(verify(rebuilt(whole, session, tmp_path, swap), trust=trust))
    assert fact.startswith("k8s/kubeadm: evidence/kubectl.sigstore.json: it is of sha256:")


def test_the_evidence_of_an_older_iso_proves_nothing_on_this_one(
    whole: Built, session: Session, trust: Trust, tmp_path: Path
) -> None:
    """It is true of what it was made for, which lay at the same paths."""

    def older(claim: SignatureClaim) -> SignatureClaim:
        wanted = claim.path == "k8s/kubeadm"
        return claim.model_copy(update={"sha256": Digest.of(b"older")}) if wanted else claim

    (fact,) = facts(verify(rebuilt(whole, session, tmp_path, older), trust=trust))
    digest = Digest.of(b"older")
    assert fact == f"k8s/kubeadm: {digest} was signed, which is not what is there"


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("{identity: release@example.org, issuer: 'https://elsewhere.example'}", "https://elsew"),
        ("{identity: other@example.org, issuer: 'https://accounts.example.org'}", "other@examp"),
    ],
    ids=["issuer", "identity"],
)
def test_another_identity_or_issuer_is_refused_from_the_iso_alone(
    who: str, why: str, whole: Built, trust: Trust, tmp_path: Path
) -> None:
    path = tmp_path / "policies.yaml"
    text = f"schema: 1\npolicies:\n  kubernetes:\n    files: {who}\n    paths: [k8s/kubeadm]\n"
    path.write_text(f"{text}    images: {who}\n    of: [registry.k8s.io/]\n    level: needed\n")
    found = facts(verify(whole.iso, trust=replace(trust, policies=known_policies(path))))
    assert len(found) == len(whole.lock.trust.claims if whole.lock.trust else ())
    assert all(f"signer: expected {why}" in fact or why in fact for fact in found)
    assert all(
        f"found {RELEASER} (logged in at https://accounts.example.org)" in one for one in found
    )


def test_a_claim_by_another_policy_is_no_claim_of_the_expected_one(
    whole: Built, session: Session, trust: Trust, tmp_path: Path
) -> None:
    def rename(claim: SignatureClaim) -> SignatureClaim:
        wanted = claim.path == "k8s/kubeadm"
        return claim.model_copy(update={"policy": "mine"}) if wanted else claim

    assert whole.lock.trust is not None
    policies = {**whole.lock.trust.policies, "mine": whole.lock.trust.policies["kubernetes"]}
    own = whole.lock.trust.model_copy(update={"policies": policies})
    renamed = replace(whole, lock=whole.lock.model_copy(update={"trust": own}))
    result = verify(rebuilt(renamed, session, tmp_path, rename), trust=trust)
    assert "k8s/kubeadm: unsigned: the policy kubernetes expects" in " ".join(facts(result))
    assert "that the policy mine is the right one: it is the ISO's own word" in result.not_proved


def test_an_exception_counts_only_if_the_verifier_has_it(
    whole: Built, session: Session, trust: Trust, tmp_path: Path
) -> None:
    def excepted(claim: SignatureClaim) -> SignatureClaim:
        if claim.path != "k8s/kubeadm":
            return claim
        told = {"status": "excepted", "why": "never mind", "evidence": ()}
        return claim.model_copy(update=told)

    iso = rebuilt(whole, session, tmp_path, excepted)
    (fact,) = facts(verify(iso, trust=trust))
    assert "an exception that the policy does not have: never mind" in fact
    hole = "{kubernetes: 1.34.12, covers: files, reason: lost, noted: 2026-11-01}"
    more = f"    exceptions: [{hole}]\n"
    known = write_policies(tmp_path / "policies.yaml", more=more)
    result = verify(iso, trust=replace(trust, policies=known_policies(known)))
    assert result.passed
    line = next(one for one in result.signatures if one.status == "excepted")
    assert "unsigned, as is known since 2026-11-01: lost" in str(line)


# --- before it is built ---


def test_a_build_proves_every_claim_before_it_writes(
    whole: Built, session: Session, trust: Trust, tmp_path: Path
) -> None:
    made = build(whole.lock, tmp_path, session, trust=trust)
    assert made.digest == whole.digest
    assert made.signatures == verify(whole.iso, trust=trust).signatures
    again = build(whole.lock, tmp_path, session, trust=trust)
    assert again.reused
    assert again.signatures == made.signatures


def test_a_build_stops_where_a_claim_fails_that_is_needed(
    whole: Built, session: Session, trust: Trust, tmp_path: Path
) -> None:
    stranger = replace(trust, root=SmallSigstore().root)
    with pytest.raises(IntegrityError, match=r"k8s/kubeadm: .* is no log that"):
        build(whole.lock, tmp_path, session, trust=stranger)
    assert [*tmp_path.iterdir()] == []
    there = build(whole.lock, tmp_path, session)
    with pytest.raises(IntegrityError, match="is no log that the trusted root has"):
        build(whole.lock, tmp_path, session, trust=stranger)
    assert Digest.of_file(there.iso) == whole.digest


def test_what_nobody_signed_is_built_only_where_a_signature_is_wanted(
    unsigned: Lock, session: Session, trust: Trust, tmp_path: Path
) -> None:
    with pytest.raises(
        IntegrityError, match=r"docker/\w+\.tar: registry\.k8s\.io/\S+: unsigned: no sig"
    ):
        build(unsigned, tmp_path, session, trust=trust)
    assert [*tmp_path.iterdir()] == []
    wanted = known_policies(Path(session.config.policies or "").with_name("wanted.yaml"))
    assert (
        build(unsigned, tmp_path, session, trust=replace(trust, policies=wanted)).signatures == ()
    )


def test_the_settings_ask_for_it_as_the_option_does(
    whole: Built, world: World, store: Store, folder: Path, tmp_path: Path
) -> None:
    config = json.loads(world.config_file.read_text())
    files = {"policies": str(folder / "policies.yaml"), "trusted_root": str(folder / "root.json")}
    settings = tmp_path / "config.yaml"
    lock = folder / "kubernetes-1.34.12.amd64.lock.json"
    words: list[str | Path] = ["--config", settings, "--store", store.root, "build", lock]
    words += ["--out", tmp_path / "out"]
    settings.write_text(json.dumps({**config, **files}))
    assert "signed: " not in call(*words).stderr
    told = call(*words, "--trust").stderr
    assert f"signed: k8s/kubeadm (kubeadm): by {RELEASER}, 2026-11-01 12:01:00 UTC, log" in told
    settings.write_text(json.dumps({**config, **files, "trust": True}))
    (found,) = json.loads(call(*words, "--json").stdout)
    assert {one["status"] for one in found["signatures"]} == {"signed"}
    (folder / "stranger.json").write_bytes(SmallSigstore().root_data())
    files["trusted_root"] = str(folder / "stranger.json")
    settings.write_text(json.dumps({**config, **files, "trust": True}))
    done = call(*words[:-1], tmp_path / "other", code=5)
    assert "k8s/kubeadm: evidence/kubeadm.sigstore.json: log: " in done.stderr
    assert not (tmp_path / "other").exists() or [*(tmp_path / "other").iterdir()] == []
    call(*words, "--trust", "--check", whole.iso, code=2)


# --- other forms ---


def runc_of(lock: Lock) -> LockedFile:
    return next(file for file in lock.files if file.name == "runc")


def by_own_policy(recipe: Recipe, file: LockedFile, **files: object) -> tuple[Recipe, LockedFile]:
    """Return the recipe with a policy of its own, and the file that names it."""
    policy = {"files": files, "level": "needed"}
    trust = RecipeTrust.model_validate({"policies": {"own": policy}})
    evidence = file.evidence.model_copy(update={"signature": "own"})
    return (
        recipe.model_copy(update={"trust": trust}),
        file.model_copy(update={"evidence": evidence}),
    )


def test_an_attestation_of_github_counts_for_its_own_repository(
    unsigned: Lock, recipe: Recipe, world: World, store: Store, folder: Path, signed: SignedUpstream
) -> None:
    who = {
        "identity": "https://github.com/{repository}/.github/workflows/*@refs/tags/*",
        "issuer": "https://token.actions.githubusercontent.com",
        "form": "attestation",
    }
    own, runc = by_own_policy(recipe, runc_of(unsigned), **who)
    place = f"/api.github.com/repos/opencontainers/runc/attestations/{runc.sha256}"

    def served(*repositories: str) -> SignatureClaim:
        work = ".github/workflows/release.yml@refs/tags/v1.4.3"
        bundles = [
            signed.sigstore.attest(
                runc.sha256, identity=f"https://github.com/{one}/{work}", issuer=who["issuer"]
            )
            for one in repositories
        ]
        answer = {"attestations": [{"bundle": json.loads(write_bundle(one))} for one in bundles]}
        signed.upstream.put_file(place, json.dumps(answer).encode())
        with opened(world, store, folder) as session:
            return captured(only(unsigned, runc), own, session)

    claim = served("opencontainers/runc")
    assert (claim.status, kinds(claim)) == ("signed", ["bundle"])
    with pytest.raises(IntegrityError, match=r"found https://github\.com/somebody/runc/"):
        served("somebody/runc")
    both = served("somebody/runc", "opencontainers/runc", "others/runc")
    assert (both.status, kinds(both)) == ("signed", ["bundle"])


def test_a_signed_checksum_file_counts_for_the_file_that_it_lists(
    unsigned: Lock, recipe: Recipe, session: Session, signed: SignedUpstream
) -> None:
    key = pysequoia.Tsk.generate("Owner <owner@example.org>")
    public = key.extract_certificate()
    own, runc = by_own_policy(
        recipe,
        runc_of(unsigned),
        fingerprints=(str(public.fingerprint).upper(),),
        keyring=str(public),
        form="clear-signed",
    )
    assert runc.evidence.url is not None
    place = runc.evidence.url.removeprefix("https:/")

    def served(digest: Digest) -> SignatureClaim:
        text = f"{digest.hex} *runc.amd64\n".encode()
        mode = pysequoia.SignatureMode.CLEAR
        signed.upstream.put_file(place, bytes(pysequoia.sign(key.signer(), text, mode=mode)))
        return captured(only(unsigned, runc), own, session)

    assert kinds(served(runc.sha256)) == ["openpgp"]
    with pytest.raises(IntegrityError, match=f"it does not say that runc.amd64 is {runc.sha256}"):
        served(Digest.of(b"another runc"))
