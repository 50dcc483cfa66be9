"""A small Sigstore in memory: an authority, a log of certificates, logs of versions 1 and 2.

What it makes is real to the last signature, so that a test can change one thing and see which claim
fails. The Sigstore that others wrote is tried by `make test-sigstore`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isobuilder.digest import Digest
from isobuilder.trust.dsse import DsseSignature, Envelope, pae
from isobuilder.trust.evidence.bundle import InclusionProof, LogEntry, SignatureBundle
from isobuilder.trust.evidence.root import TrustedRoot, read_root

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
RELEASER = "release@example.org"
ISSUER = "https://accounts.example.org"
IN_TOTO = "application/vnd.in-toto+json"
LIFE = timedelta(minutes=10)

_ISSUER_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCT_OID = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def der(key: Any) -> bytes:
    """Return the public half as a SubjectPublicKeyInfo."""
    spki: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return spki


def pem(certificate: bytes) -> bytes:
    """Return a certificate as upstream publishes it."""
    found = x509.load_der_x509_certificate(certificate)
    return found.public_bytes(serialization.Encoding.PEM)


@dataclass
class Log:
    """A transparency log: entries and a key."""

    url: str
    key: Any = field(default_factory=_key)
    bodies: list[bytes] = field(default_factory=list)
    version: int = 1

    @property
    def origin(self) -> str:
        name = self.url.partition("://")[2]
        return name if self.version == 2 else f"{name} - 1193050959916656506"

    @property
    def log_id(self) -> bytes:
        if self.version == 1:
            return hashlib.sha256(der(self.key)).digest()
        raw = self.key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        return hashlib.sha256(self.origin.encode() + b"\n\x01" + raw).digest()

    def add(self, body: bytes, *, after: int = 3, integrated: int | None = None) -> LogEntry:
        """Log an entry, with ``after`` others behind it."""
        index = len(self.bodies)
        self.bodies += [body, *(b'{"other": %d}' % n for n in range(after))]
        return self.entry(index, integrated=integrated)

    def entry(self, index: int, *, integrated: int | None = None) -> LogEntry:
        """Return what the log says of an entry."""
        body = self.bodies[index]
        document = json.loads(body)
        leaves = [hashlib.sha256(b"\0" + one).digest() for one in self.bodies]
        root = _root(leaves)
        shown = f"{self.origin}\n{len(leaves)}\n{base64.b64encode(root).decode()}\n"
        signed = base64.b64encode(self.log_id[:4] + self.sign(shown.encode())).decode()
        name = self.origin.partition(" ")[0]
        proof = InclusionProof(
            index, len(leaves), root, tuple(_path(index, leaves)), f"{shown}\n— {name} {signed}\n"
        )
        promise = None
        if integrated is not None:
            told = {
                "body": base64.b64encode(body).decode(),
                "integratedTime": integrated,
                "logID": self.log_id.hex(),
                "logIndex": index + 1000,
            }
            promise = self.sign(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())
        return LogEntry(
            index=index + (1000 if integrated is not None else 0),
            log_id=self.log_id,
            kind=document.get("kind", ""),
            version=document.get("apiVersion", ""),
            integrated=integrated,
            promise=promise,
            proof=proof,
            body=body,
        )

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        signature: bytes = self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        return signature


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    at = _split(len(leaves))
    return hashlib.sha256(b"\1" + _root(leaves[:at]) + _root(leaves[at:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    at = _split(len(leaves))
    if index < at:
        return [*_path(index, leaves[:at]), _root(leaves[at:])]
    return [*_path(index - at, leaves[at:]), _root(leaves[:at])]


def _split(size: int) -> int:
    at = 1
    while at * 2 < size:
        at *= 2
    return at


_STAMPER = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/stamper.pem
signer_key = {folder}/stamper.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


class SmallSigstore:
    """Everything that a keyless signature needs."""

    def __init__(self, *, start: datetime = NOW) -> None:
        self.start = start
        self.log = Log("https://log.example.org")
        self.new_log = Log(
            "https://log2.example.org", key=ed25519.Ed25519PrivateKey.generate(), version=2
        )
        self.certificate_log = Log("https://ct.example.org")
        self.authority_key = _key()
        self.authority = self._authority(self.authority_key)
        self.stampers: list[bytes] = []

    def _authority(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(self.start - timedelta(days=100))
            .not_valid_after(self.start + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )

    def root_data(self) -> bytes:
        """Return the trusted root as its file."""

        def log(one: Log) -> dict[str, Any]:
            return {
                "baseUrl": one.url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": _base64(der(one.key)),
                    "keyDetails": "PKIX_ED25519" if one.version == 2 else "PKIX_ECDSA_P256_SHA_256",
                    "validFor": {"start": "2020-01-01T00:00:00Z"},
                },
                "logId": {"keyId": _base64(one.log_id)},
            }

        def authority(*chain: bytes) -> dict[str, Any]:
            return {
                "subject": {"organization": "example", "commonName": "test"},
                "uri": "https://example.org",
                "certChain": {"certificates": [{"rawBytes": _base64(one)} for one in chain]},
                "validFor": {"start": "2020-01-01T00:00:00Z"},
            }

        own = self.authority.public_bytes(serialization.Encoding.DER)
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self.log), log(self.new_log)],
                "certificateAuthorities": [authority(own)],
                "ctlogs": [log(self.certificate_log)],
                "timestampAuthorities": [authority(*self.stampers)] if self.stampers else [],
            }
        ).encode()

    @property
    def root(self) -> TrustedRoot:
        return read_root(self.root_data(), "root.json")

    # --- certificates ---

    def certificate(
        self,
        key: Any,
        *,
        identity: str = RELEASER,
        issuer: str = ISSUER,
        at: datetime | None = None,
        logged: bool = True,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
    ) -> bytes:
        """Issue a certificate for ten minutes."""
        begin = at or self.start
        text = issuer.encode()
        san: x509.GeneralName = x509.RFC822Name(identity)
        if identity.startswith("https://"):
            san = x509.UniformResourceIdentifier(identity)
        head = b"\x0c" + (bytes([len(text)]) if len(text) < 128 else bytes([0x81, len(text)]))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + LIFE)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=False,
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName([san]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_OID, head + text), critical=False)
        )
        if logged:
            bare = builder.sign(self.authority_key, hashes.SHA256())
            promise = self._promise(bare.tbs_certificate_bytes, begin)
            octets = b"\x04" + (
                bytes([len(promise)]) if len(promise) < 128 else bytes([0x81, len(promise)])
            )
            builder = builder.add_extension(
                x509.UnrecognizedExtension(_SCT_OID, octets + promise), critical=False
            )
        issued = builder.sign(self.authority_key, hashes.SHA256())
        return issued.public_bytes(serialization.Encoding.DER)

    def _promise(self, signed: bytes, moment: datetime) -> bytes:
        milliseconds = int(moment.timestamp() * 1000).to_bytes(8, "big")
        issuer = hashlib.sha256(der(self.authority_key)).digest()
        what = b"\0\0" + milliseconds + b"\0\1" + issuer + len(signed).to_bytes(3, "big")
        signature = self.certificate_log.sign(what + signed + b"\0\0")
        one = (
            b"\0"
            + self.certificate_log.log_id
            + milliseconds
            + b"\0\0"
            + b"\x04\x03"  # SHA-256 with ECDSA
            + len(signature).to_bytes(2, "big")
            + signature
        )
        listed = len(one).to_bytes(2, "big") + one
        return len(listed).to_bytes(2, "big") + listed

    # --- signatures ---

    def sign(
        self,
        digest: Digest,
        *,
        log: Log | None = None,
        after: int = 3,
        key: ec.EllipticCurvePrivateKey | None = None,
        **told: Any,
    ) -> SignatureBundle:
        """Sign bytes by their digest, as ``cosign sign-blob`` does."""
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

        key = key or _key()
        certificate = self.certificate(key, **told)
        raw = bytes.fromhex(digest.hex)
        signature = key.sign(raw, ec.ECDSA(Prehashed(hashes.SHA256())))
        entry = self._logged(log or self.log, digest, signature, certificate, after)
        return SignatureBundle(certificate, "", (entry,), (), signature, digest, None)

    def attest(
        self, subject: Digest, *, predicate: str = "https://example.org/v1", **told: Any
    ) -> SignatureBundle:
        """Sign a statement about bytes, as ``cosign attest`` does."""
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "it", "digest": {"sha256": subject.hex}}],
            "predicateType": predicate,
            "predicate": {},
        }
        payload = json.dumps(statement).encode()
        key = _key()
        certificate = self.certificate(key, **told)
        signature = key.sign(pae(IN_TOTO, payload), ec.ECDSA(hashes.SHA256()))
        envelope = Envelope(IN_TOTO, payload, (DsseSignature(signature),))
        verifier = _base64(pem(certificate))
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": "00" * 32},
                "payloadHash": {"algorithm": "sha256", "value": Digest.of(payload).hex},
                "signatures": [{"signature": _base64(signature), "verifier": verifier}],
            },
        }
        entry = self.log.add(_json(body), integrated=self.integrated)
        return SignatureBundle(certificate, "", (entry,), (), None, None, envelope)

    def add_stamper(self, folder: Path) -> None:
        """Trust an authority for timestamps, whose keys are in ``folder``."""
        key = _key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stamps of a test")])
        leaf = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.authority.subject)
            .public_key(key.public_key())
            .serial_number(11)
            .not_valid_before(self.start - timedelta(days=1))
            .not_valid_after(self.start + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True
            )
            .sign(self.authority_key, hashes.SHA256())
        )
        authority = self.authority.public_bytes(serialization.Encoding.DER)
        self.stampers = [leaf.public_bytes(serialization.Encoding.DER), authority]
        (folder / "stamper.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        (folder / "stamper.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "stamper.cnf").write_text(_STAMPER.format(folder=folder))

    def stamp(self, folder: Path, signature: bytes) -> bytes:
        """Return the authority's answer about a signature, with the time of now."""
        (folder / "signature").write_bytes(signature)
        ask = ["-query", "-data", "signature", "-sha256", "-cert", "-out", "query"]
        answer = ["-reply", "-queryfile", "query", "-config", "stamper.cnf", "-out", "answer"]
        for arguments in (ask, answer):
            subprocess.run(
                ["openssl", "ts", *arguments], cwd=folder, check=True, capture_output=True
            )
        return (folder / "answer").read_bytes()

    @property
    def integrated(self) -> int:
        return int((self.start + timedelta(minutes=1)).timestamp())

    def _logged(
        self, log: Log, digest: Digest, signature: bytes, certificate: bytes, after: int
    ) -> LogEntry:
        if log.version == 2:
            data = {"algorithm": "SHA2_256", "digest": _base64(bytes.fromhex(digest.hex))}
            verifier = {
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "x509Certificate": {"rawBytes": _base64(certificate)},
            }
            spec = {
                "data": data,
                "signature": {"content": _base64(signature), "verifier": verifier},
            }
            body = {
                "apiVersion": "0.0.2",
                "kind": "hashedrekord",
                "spec": {"hashedRekordV002": spec},
            }
            return log.add(_json(body), after=after)
        body = {
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": digest.hex}},
                "signature": {
                    "content": _base64(signature),
                    "publicKey": {"content": _base64(pem(certificate))},
                },
            },
        }
        return log.add(_json(body), after=after, integrated=self.integrated)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def rekor_answer(entry: LogEntry) -> dict[str, Any]:
    """Return an entry as Rekor of version 1 answers it."""
    told: dict[str, Any] = {}
    if entry.promise is not None:
        told["signedEntryTimestamp"] = _base64(entry.promise)
    if entry.proof is not None:
        told["inclusionProof"] = {
            "checkpoint": entry.proof.checkpoint,
            "hashes": [one.hex() for one in entry.proof.hashes],
            "logIndex": entry.proof.index,
            "rootHash": entry.proof.root.hex(),
            "treeSize": entry.proof.size,
        }
    return {
        hashlib.sha256(b"\0" + entry.body).hexdigest(): {
            "body": _base64(entry.body),
            "integratedTime": entry.integrated or 0,
            "logID": entry.log_id.hex(),
            "logIndex": entry.index,
            "verification": told,
        }
    }


def cosign_note(bundle: SignatureBundle) -> dict[str, str]:
    """Return the annotations with which cosign 2 puts a signature beside an image."""
    assert bundle.certificate is not None
    entry = bundle.entries[0]
    assert entry.promise is not None
    payload = {
        "body": _base64(entry.body),
        "integratedTime": entry.integrated,
        "logIndex": entry.index,
        "logID": entry.log_id.hex(),
    }
    note = {"SignedEntryTimestamp": _base64(entry.promise), "Payload": payload}
    return {
        "dev.cosignproject.cosign/signature": _base64(bundle.signed_with),
        "dev.sigstore.cosign/certificate": pem(bundle.certificate).decode(),
        "dev.sigstore.cosign/bundle": json.dumps(note),
    }


def signed_text(image: Digest, reference: str) -> bytes:
    """Return what cosign signs of an image."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": str(image)},
        "type": "cosign container image signature",
    }
    return _json({"critical": critical, "optional": None})
