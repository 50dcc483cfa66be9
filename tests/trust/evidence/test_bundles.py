"""Each claim of a signature fails for its own reason, and says which."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.trust.evidence.bundle import LogEntry, SignatureBundle, read_bundle, write_bundle
from isobuilder.trust.evidence.root import load_root, read_root
from isobuilder.trust.evidence.verify import Proven, verify_bundle, verify_key
from tests.fakes.sigstore import ISSUER, NOW, RELEASER, Log, SmallSigstore

ARTIFACT = Digest.of(b"kubeadm v1.37.1")
OTHER = Digest.of(b"kubeadm v6.66.6")


@pytest.fixture(scope="module")
def sigstore() -> SmallSigstore:
    return SmallSigstore()


def check(sigstore: SmallSigstore, bundle: SignatureBundle, subject: Digest = ARTIFACT) -> Proven:
    again = read_bundle(write_bundle(bundle), "it")
    return verify_bundle(again, subject, sigstore.root, "it")


def entry_of(bundle: SignatureBundle, **changes: Any) -> SignatureBundle:
    return replace(bundle, entries=(replace(bundle.entries[0], **changes),))


def proof_of(bundle: SignatureBundle, **changes: Any) -> SignatureBundle:
    proof = bundle.entries[0].proof
    assert proof is not None
    return entry_of(bundle, proof=replace(proof, **changes))


@pytest.mark.parametrize("after", [0, 1, 2, 3, 6, 13])
@pytest.mark.parametrize("before", [0, 1, 4])
def test_a_signature_is_proved_from_a_log_of_any_size(before: int, after: int) -> None:
    sigstore = SmallSigstore()
    sigstore.log.bodies += [b'{"n": %d}' % n for n in range(before)]
    proven = check(sigstore, sigstore.sign(ARTIFACT, after=after))
    assert proven.signer is not None
    assert (proven.signer.name, proven.signer.issuer) == (RELEASER, ISSUER)
    assert proven.moment == NOW + timedelta(minutes=1)
    assert proven.evidence == ("log proof of log.example.org",)


def test_the_promise_of_a_log_is_enough_where_it_gave_no_proof(sigstore: SmallSigstore) -> None:
    proven = check(sigstore, entry_of(sigstore.sign(ARTIFACT), proof=None))
    assert proven.evidence == ("log promise of log.example.org",)


def test_a_statement_is_proved_for_its_subject(sigstore: SmallSigstore) -> None:
    proven = check(sigstore, sigstore.attest(ARTIFACT))
    assert proven.statement is not None
    assert proven.statement.predicate_type == "https://example.org/v1"


def expired(it: SmallSigstore) -> SignatureBundle:
    return it.sign(ARTIFACT, at=NOW - timedelta(hours=1))


def not_yet_valid(it: SmallSigstore) -> SignatureBundle:
    return it.sign(ARTIFACT, at=NOW + timedelta(hours=1))


def of_another_artifact(it: SmallSigstore) -> SignatureBundle:
    return replace(it.sign(OTHER), digest=None)


def entry_of_another_artifact(it: SmallSigstore) -> SignatureBundle:
    return replace(it.sign(ARTIFACT), entries=it.sign(OTHER).entries)


def entry_of_another_signature(it: SmallSigstore) -> SignatureBundle:
    return replace(it.sign(ARTIFACT), entries=it.sign(ARTIFACT).entries)


def entry_of_another_signer(it: SmallSigstore) -> SignatureBundle:
    one, other = it.sign(ARTIFACT), it.sign(ARTIFACT)
    return replace(one, certificate=other.certificate)


def truncated(it: SmallSigstore) -> SignatureBundle:
    bundle = it.sign(ARTIFACT)
    proof = bundle.entries[0].proof
    assert proof is not None
    return proof_of(bundle, hashes=proof.hashes[:-1])


def too_long(it: SmallSigstore) -> SignatureBundle:
    bundle = it.sign(ARTIFACT)
    proof = bundle.entries[0].proof
    assert proof is not None
    return proof_of(bundle, hashes=(*proof.hashes, bytes(32)))


def another_place(it: SmallSigstore) -> SignatureBundle:
    bundle = it.sign(ARTIFACT)
    proof = bundle.entries[0].proof
    assert proof is not None
    return proof_of(bundle, index=proof.index + 1)


def forked(it: SmallSigstore) -> SignatureBundle:
    """The log shows another history to somebody else, with a head of that one."""
    bundle = it.sign(ARTIFACT)
    fork = Log(it.log.url, key=it.log.key, bodies=[b'{"fork": 1}', bundle.entries[0].body])
    other = fork.entry(0)
    assert other.proof is not None
    return entry_of(bundle, proof=other.proof)


def head_of_another_tree(it: SmallSigstore) -> SignatureBundle:
    bundle = it.sign(ARTIFACT)
    later = it.sign(OTHER).entries[0].proof
    assert later is not None
    return proof_of(bundle, checkpoint=later.checkpoint)


def head_of_another_log(it: SmallSigstore) -> SignatureBundle:
    bundle = it.sign(ARTIFACT)
    other = Log(it.log.url, bodies=list(it.log.bodies))
    proof = other.entry(len(other.bodies) - 4).proof
    assert proof is not None
    return proof_of(bundle, checkpoint=proof.checkpoint)


def head_without_signature(it: SmallSigstore) -> SignatureBundle:
    bundle = it.sign(ARTIFACT)
    proof = bundle.entries[0].proof
    assert proof is not None
    return proof_of(bundle, checkpoint=proof.checkpoint.partition("\n\n")[0] + "\n")


def unknown_log(it: SmallSigstore) -> SignatureBundle:
    return it.sign(ARTIFACT, log=Log("https://elsewhere.example.org"))


def another_time(it: SmallSigstore) -> SignatureBundle:
    return entry_of(it.sign(ARTIFACT), integrated=it.integrated + 60)


def neither_proof_nor_promise(it: SmallSigstore) -> SignatureBundle:
    return entry_of(it.sign(ARTIFACT), proof=None, promise=None)


def no_entry(it: SmallSigstore) -> SignatureBundle:
    return replace(it.sign(ARTIFACT), entries=())


def no_time(it: SmallSigstore) -> SignatureBundle:
    return it.sign(ARTIFACT, log=it.new_log)


def another_authority(it: SmallSigstore) -> SignatureBundle:
    stranger = SmallSigstore()
    stranger.log, stranger.certificate_log = it.log, it.certificate_log
    return stranger.sign(ARTIFACT)


def unlogged(it: SmallSigstore) -> SignatureBundle:
    return it.sign(ARTIFACT, logged=False)


def logged_elsewhere(it: SmallSigstore) -> SignatureBundle:
    stranger = SmallSigstore()
    stranger.log, stranger.authority = it.log, it.authority
    stranger.authority_key = it.authority_key
    return stranger.sign(ARTIFACT)


def for_servers(it: SmallSigstore) -> SignatureBundle:
    return it.sign(ARTIFACT, usage=ExtendedKeyUsageOID.SERVER_AUTH)


def changed_signature(it: SmallSigstore) -> SignatureBundle:
    """A signature of another key, logged as it is: everything fits but the signature."""
    bundle = it.sign(ARTIFACT)
    stranger = it.sign(ARTIFACT)
    body = json.loads(bundle.entries[0].body)
    assert stranger.signature is not None
    body["spec"]["signature"]["content"] = base64.b64encode(stranger.signature).decode()
    entry = it.log.add(json.dumps(body).encode(), integrated=it.integrated)
    return replace(bundle, signature=stranger.signature, entries=(entry,))


def changed_statement(it: SmallSigstore) -> SignatureBundle:
    bundle = it.attest(ARTIFACT)
    assert bundle.envelope is not None
    payload = bundle.envelope.payload.replace(b"example.org/v1", b"example.org/v2")
    return replace(bundle, envelope=replace(bundle.envelope, payload=payload))


def statement_of_another(it: SmallSigstore) -> SignatureBundle:
    return it.attest(OTHER)


def no_statement(it: SmallSigstore) -> SignatureBundle:
    bundle = it.attest(ARTIFACT)
    assert bundle.envelope is not None
    return replace(bundle, envelope=replace(bundle.envelope, payload_type="text/plain"))


def with_a_key(it: SmallSigstore) -> SignatureBundle:
    return replace(it.sign(ARTIFACT), certificate=None, key_hint="mine")


BAD: list[tuple[Callable[[SmallSigstore], SignatureBundle], str]] = [
    (expired, r"certificate: valid from .* and it signed 2026-11-01 12:01:00"),
    (not_yet_valid, r"certificate: valid from 2026-11-01 13:00:00"),
    (of_another_artifact, r"log: the entry is of sha256:\w+, not sha256:"),
    (entry_of_another_artifact, r"log: the entry is of sha256:\w+, not sha256:"),
    (entry_of_another_signature, "log: the entry is of another signature"),
    (entry_of_another_signer, "log: the entry is of another signer"),
    (truncated, "log: the proof does not lead from the entry to the head"),
    (too_long, "log: the proof does not lead from the entry to the head"),
    (another_place, "log: the proof does not lead from the entry to the head"),
    (forked, "log: the proof does not lead from the entry to the head"),
    (head_of_another_tree, r"log: the proof is for a tree of \d+ entries, the signed head of"),
    (head_of_another_log, r"log: the checkpoint of 'log.example.org - \d+' is not signed by"),
    (head_without_signature, "log: not a checkpoint"),
    (unknown_log, "is no log that the trusted root has"),
    (another_time, "log: its promise is not signed by https://log.example.org"),
    (neither_proof_nor_promise, "log: neither a proof nor a promise"),
    (no_entry, "log: no entry"),
    (no_time, "time: the log tells none, and there is no timestamp"),
    (another_authority, "certificate: issued by CN=authority of a test, whom the trusted root"),
    (unlogged, "certificate: no log was told of it"),
    (logged_elsewhere, "certificate: no log that the trusted root has was told of it"),
    (for_servers, "certificate: it is not for signing code"),
    (changed_signature, "signature: not made with that key"),
    (changed_statement, r"log: the entry is of sha256:\w+, not sha256:"),
    (statement_of_another, r"statement: sha256:\w+ is none of its subjects"),
    (no_statement, "statement: expected one of in-toto, found 'text/plain'"),
    (with_a_key, "signed with a key, where a certificate is expected"),
]


@pytest.mark.parametrize(("make", "why"), BAD, ids=lambda one: getattr(one, "__name__", ""))
def test_what_does_not_hold_is_refused_with_the_claim_that_fails(
    make: Callable[[SmallSigstore], SignatureBundle], why: str, sigstore: SmallSigstore
) -> None:
    with pytest.raises(IntegrityError, match=f"^it: {why}|^it: .*{why}"):
        check(sigstore, make(sigstore))


def test_an_entry_of_version_2_is_proved_with_a_timestamp(tmp_path: Path) -> None:
    sigstore = SmallSigstore(start=datetime.now(UTC) - timedelta(minutes=2))
    sigstore.add_stamper(tmp_path)
    bundle = sigstore.sign(ARTIFACT, log=sigstore.new_log)
    stamped = replace(bundle, stamps=(sigstore.stamp(tmp_path, bundle.signed_with),))
    proven = check(sigstore, stamped)
    assert proven.evidence == ("log proof of log2.example.org", "timestamp")
    assert proven.moment is not None
    assert proven.moment > sigstore.start
    foreign = replace(bundle, stamps=(sigstore.stamp(tmp_path, b"another signature"),))
    with pytest.raises(IntegrityError, match="timestamp: not of this signature"):
        check(sigstore, foreign)
    sigstore.stampers = []
    with pytest.raises(IntegrityError, match="by no authority that the trusted root has"):
        check(sigstore, stamped)
    with pytest.raises(IntegrityError, match="not an answer of RFC 3161"):
        check(sigstore, replace(bundle, stamps=(b"\x30\x03\x02\x01\x00",)))


def test_a_certificate_that_expired_before_the_timestamp_is_refused(tmp_path: Path) -> None:
    sigstore = SmallSigstore(start=datetime.now(UTC) - timedelta(hours=1))
    sigstore.add_stamper(tmp_path)
    bundle = sigstore.sign(ARTIFACT, log=sigstore.new_log)
    stamped = replace(bundle, stamps=(sigstore.stamp(tmp_path, bundle.signed_with),))
    with pytest.raises(IntegrityError, match="certificate: valid from"):
        check(sigstore, stamped)


OLD_TYPES = (
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
)


@pytest.mark.parametrize("kind", OLD_TYPES)
def test_bundles_of_older_versions_are_read_and_proved_alike(
    kind: str, sigstore: SmallSigstore
) -> None:
    data = json.loads(write_bundle(sigstore.sign(ARTIFACT)))
    material = data["verificationMaterial"]
    material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}
    data["mediaType"] = kind
    bundle = read_bundle(json.dumps(data).encode(), "old")
    assert verify_bundle(bundle, ARTIFACT, sigstore.root, "old").signer is not None
    del material["tlogEntries"][0]["inclusionProof"]
    del material["tlogEntries"][0]["inclusionPromise"]
    bare = read_bundle(json.dumps(data).encode(), "old")
    with pytest.raises(IntegrityError, match="neither a proof nor a promise"):
        verify_bundle(bare, ARTIFACT, sigstore.root, "old")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mediaType": "application/vnd.dev.sigstore.bundle.v0.9+json"}, "mediaType: expected"),
        ({"messageSignature": {}}, "either dsseEnvelope or messageSignature"),
        ({"verificationMaterial": {}}, "neither a certificate nor a key"),
        ({"verificationMaterial": []}, "expected a JSON object, found a list"),
    ],
)
def test_what_is_no_bundle_is_refused(
    change: dict[str, object], why: str, sigstore: SmallSigstore
) -> None:
    data = json.loads(write_bundle(sigstore.sign(ARTIFACT)))
    with pytest.raises(IntegrityError, match=why):
        read_bundle(json.dumps(data | change).encode(), "it")


def test_one_changed_byte_anywhere_in_a_bundle_is_refused(sigstore: SmallSigstore) -> None:
    """Of the values only: what the JSON around them says otherwise is another text."""
    data = json.loads(write_bundle(sigstore.sign(ARTIFACT)))
    changed = 0
    for place, value in _values(data):
        if place[-1] in {"mediaType", "hint"}:
            continue
        holder = data
        for step in place[:-1]:
            holder = holder[step]
        at = len(value) // 2
        other = "0" if value[at] != "0" else "1"
        holder[place[-1]] = value[:at] + other + value[at + 1 :]
        with pytest.raises(IntegrityError):
            verify_bundle(
                read_bundle(json.dumps(data).encode(), "it"), ARTIFACT, sigstore.root, "it"
            )
        holder[place[-1]] = value
        changed += 1
    assert changed > 12


def _values(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], str]]:
    if isinstance(value, str):
        return [(place, value)]
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    return [one for step, inner in steps for one in _values(inner, (*place, step))]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (truncated, "log: the proof does not lead from the entry to the head"),
        (another_place, "log: the proof does not lead from the entry to the head"),
        (head_without_signature, "log: not a checkpoint"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_proof_of_version_2_is_refused_alike(
    spoil: Callable[[SmallSigstore], SignatureBundle], why: str
) -> None:
    """Its checkpoint and proof are all that it gives: there is no promise to fall back on."""
    sigstore = SmallSigstore()
    sigstore.log = sigstore.new_log
    with pytest.raises(IntegrityError, match=why):
        check(sigstore, spoil(sigstore))


def test_the_head_of_another_log_of_version_2_is_refused() -> None:
    sigstore = SmallSigstore()
    bundle = sigstore.sign(ARTIFACT, log=sigstore.new_log)
    key = ed25519.Ed25519PrivateKey.generate()
    other = Log(sigstore.new_log.url, key=key, bodies=list(sigstore.new_log.bodies), version=2)
    proof = other.entry(0).proof
    assert proof is not None
    with pytest.raises(IntegrityError, match="is not signed by"):
        check(sigstore, proof_of(bundle, checkpoint=proof.checkpoint))


def test_a_bundle_with_two_signatures_is_refused_though_one_is_good(
    sigstore: SmallSigstore,
) -> None:
    data = json.loads(write_bundle(sigstore.attest(ARTIFACT)))
    data["dsseEnvelope"]["signatures"] *= 2
    with pytest.raises(IntegrityError, match="2 signatures in one bundle, expected 1"):
        read_bundle(json.dumps(data).encode(), "it")


# --- keys ---


def signed_with(key: ec.EllipticCurvePrivateKey) -> tuple[SignatureBundle, bytes]:
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    raw = bytes.fromhex(ARTIFACT.hex)
    signature = key.sign(raw, ec.ECDSA(Prehashed(hashes.SHA256())))
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SignatureBundle(None, "", (), (), signature, ARTIFACT, None), pem


def test_a_signature_with_a_key_is_proved_by_that_key_alone() -> None:
    bundle, pem = signed_with(ec.generate_private_key(ec.SECP256R1()))
    _, other = signed_with(ec.generate_private_key(ec.SECP256R1()))
    assert verify_key(bundle, ARTIFACT, pem, "it").signer is None
    with pytest.raises(IntegrityError, match="signature: not made with that key"):
        verify_key(bundle, ARTIFACT, other, "it")
    with pytest.raises(IntegrityError, match=r"it is of sha256:\w+, not of sha256:"):
        verify_key(bundle, OTHER, pem, "it")


@pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP256K1(), ec.BrainpoolP256R1()])
def test_a_key_of_the_wrong_curve_is_refused(curve: ec.EllipticCurve) -> None:
    bundle, pem = signed_with(ec.generate_private_key(curve))
    with pytest.raises(IntegrityError, match=f"a key of the curve {curve.name}"):
        verify_key(bundle, ARTIFACT, pem, "it")


@pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP256K1()])
def test_a_certificate_about_a_key_of_the_wrong_curve_is_refused(
    curve: ec.EllipticCurve, sigstore: SmallSigstore
) -> None:
    """Though the authority issued it, and it signed and was logged."""
    bundle = sigstore.sign(ARTIFACT, key=ec.generate_private_key(curve))
    with pytest.raises(IntegrityError, match=f"certificate: a key of the curve {curve.name}"):
        check(sigstore, bundle)


# --- roots ---


def test_a_file_of_several_roots_is_all_of_them(sigstore: SmallSigstore) -> None:
    other = SmallSigstore()
    both = read_root(sigstore.root_data() + b"\n" + other.root_data() + b"\n", "roots.jsonl")
    for one in (sigstore, other):
        bundle = one.sign(ARTIFACT)
        assert verify_bundle(bundle, ARTIFACT, both, "it").signer is not None


@pytest.mark.parametrize("data", [b"{}", b"[]", b"", b"\xff", b'{"tlogs": 7}', b"<html>"])
def test_what_is_no_root_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^root\.json"):
        read_root(data, "root.json")


def test_the_root_that_is_shipped_is_that_of_the_public_sigstore() -> None:
    root = load_root(None)
    assert "https://rekor.sigstore.dev" in {log.url for log in root.logs}
    assert any("fulcio" in one.url for one in root.authorities)


def test_an_entry_is_kept_as_it_was(sigstore: SmallSigstore) -> None:
    bundle = sigstore.sign(ARTIFACT)
    again = read_bundle(write_bundle(bundle), "it")
    assert again == bundle
    assert isinstance(again.entries[0], LogEntry)
