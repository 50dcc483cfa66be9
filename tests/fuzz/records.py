"""Targets that are JSON: our own documents, those of registries, and what servers answer."""

from __future__ import annotations

import contextlib
import json
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from isobuilder.compat.ablestack import load_imported, lock_from, recipe_data
from isobuilder.digest import Digest
from isobuilder.documents.json import DOCUMENT, JsonProblem, json_tree, value_of
from isobuilder.errors import InputError, IntegrityError, UpstreamError
from isobuilder.formats.oci import (
    ImageIndex,
    check_config,
    choose_platform,
    parse_any,
    parse_config,
    parse_manifest,
    read_document,
)
from isobuilder.machine.payload import payloads
from isobuilder.model.base import canonical_json
from isobuilder.model.loading import load_lock, load_recipe, parse_manifest_json
from isobuilder.model.payload import read_payload
from isobuilder.model.trust.claims import EvidenceFile, RebuiltProgram
from isobuilder.mold.catalogue import SUFFIX, read_catalogue, read_registration
from isobuilder.mold.plan import read_plan
from isobuilder.pipeline.fetch import names_of
from isobuilder.sources.reasons import reason_in
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.shared_entry import manifest_of, read_entry
from isobuilder.sources.upstream.answers import (
    github_releases,
    marker,
    module_day,
    module_versions,
)
from isobuilder.sources.upstream.cves import read_cves
from isobuilder.sources.upstream.own import (
    OwnRelease,
    baseline_of,
    commit_of,
    own_releases,
    sdk_of,
)
from isobuilder.sources.upstream.schedule import read_schedule
from isobuilder.store import Store, check, collect, lease, partial_of, stored
from isobuilder.trust.evidence.bundle import read_bundle, write_bundle
from isobuilder.trust.evidence.verify import verify_bundle
from isobuilder.trust.publickeys import PublicKey, TrustedKey, TrustedKeys
from isobuilder.trust.rebuild.claims import judge_rebuilt, signed_proof
from isobuilder.trust.rebuild.proof import RebuildProof
from isobuilder.trust.signature import bundle_bytes, read_signature
from isobuilder.trust.signed import check_signatures
from isobuilder.trust.signers import FileSigner
from isobuilder.trust.statement import statement_bytes
from tests.fakes.sigstore import SmallSigstore
from tests.fuzz.judging import unfit
from tests.fuzz.mutation import Chance, edited_json, edited_text
from tests.fuzz.samples import Samples
from tests.fuzz.target import Rig, Target, Wrong, of_json, put
from tests.mold.conftest import registration_of

FACTS = Path(__file__).parents[1] / "facts" / "kubernetes-1.34.12-amd64.json"

ABLESTACK = {
    "name": "v1.34.12-mold-cks-amd64-r1",
    "kubernetesversion": "1.34.12",
    "arch": "x86_64",
    "checksum": "{SHA-256}" + "ab" * 32,
    "filename": "kubernetes-v1.34.12-mold-cks-amd64-r1-0123abcd.iso",
    "mincpunumber": 2,
    "minmemory": 2048,
    "minimum_resources_basis": "x",
}

PLAN = {
    "schema": 1,
    "servers": [
        {
            "server": "lab",
            "endpoint": "https://mold.example/client/api",
            "actions": [
                {
                    "do": "delete",
                    "why": "old",
                    "version": {
                        "id": "1",
                        "name": "a",
                        "semanticversion": "1.2.3",
                        "arch": "x86_64",
                    },
                    "zone": None,
                }
            ],
        }
    ],
}

AUTH = {
    "auths": {
        "r.example": {"auth": "dXNlcjpwYXNz"},
        "https://index.docker.io/v1/": {"username": "a", "password": "b", "identitytoken": "c"},
    },
    "credHelpers": {"h.example": "none"},
}


def _json(samples: Samples, _stack: ExitStack) -> Rig:
    values = [*samples.documents[:6], {"a": [1, 2.5, None, True, "x"]}, AUTH]

    def read(data: bytes, _folder: Path) -> object:
        try:
            value = value_of(data, DOCUMENT)
        except JsonProblem as problem:
            if bad := unfit(str(problem)):
                raise Wrong(bad) from problem
            return None
        json_tree(data.decode(), "x")
        return value

    return of_json(values, read)


def _lock(samples: Samples, _stack: ExitStack) -> Rig:
    values = samples.json("0.lock.json", "1.lock.json")

    def read(data: bytes, folder: Path) -> object:
        lock = load_lock(put(folder, "x.lock.json", data))
        again = load_lock(put(folder, "y.lock.json", lock.to_bytes()))
        if again != lock:
            raise Wrong("a lock that is another one when it is written and read")
        return lock.base_name, lock.digest

    return of_json(values, read)


def _manifest(samples: Samples, _stack: ExitStack) -> Rig:
    return of_json(samples.json("manifest.json"), lambda data, _: parse_manifest_json(data, "x"))


def _payload(samples: Samples, _stack: ExitStack) -> Rig:
    values = samples.json("boot/kiso/payload.json")
    return of_json(values, lambda data, _: read_payload(data, place="x"))


def _bundle(_samples: Samples, _stack: ExitStack) -> Rig:
    sigstore = SmallSigstore()
    digest = Digest.of(b"x")
    values = [
        json.loads(write_bundle(one)) for one in (sigstore.sign(digest), sigstore.attest(digest))
    ]

    def read(data: bytes, _folder: Path) -> object:
        return verify_bundle(read_bundle(data, "x"), digest, sigstore.root, "x")

    return of_json(values, read)


def _signature(_samples: Samples, _stack: ExitStack) -> Rig:
    """Statements that were signed, whatever they say, and bundles that were not."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = FileSigner(PublicKey.of(key.public_key(), "x"), key)
    trusted = TrustedKeys((TrustedKey("x", signer.public, builder="x"),), {})
    iso = Digest.of(b"iso")
    said = {"runDetails": {"builder": {"id": "x"}, "metadata": {"finishedOn": "2026-01-01"}}}
    statement = json.loads(statement_bytes("x.iso", iso, {"a": Digest.of(b"a")}, said))
    bundle = json.loads(bundle_bytes(canonical_json(statement), signer))

    def read(data: bytes, _folder: Path) -> object:
        signed = bundle_bytes(data, signer)
        found = check_signatures([("s", signed), ("b", data)], trusted, iso, {})
        good = any(claim.place == "b" for claim in found.claims)
        if good and read_signature(data, "b").envelope.payload != canonical_json(statement):
            raise Wrong("a statement that was changed is good")
        return found

    return of_json([statement, bundle], read)


def _proof(_samples: Samples, _stack: ExitStack) -> Rig:
    """Proofs of building again, bare and signed, whatever they say."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = FileSigner(PublicKey.of(key.public_key(), "x"), key)
    trusted = TrustedKeys((TrustedKey("x", signer.public),), {})
    program = Digest.of(b"program")
    module = {"path": "k8s.io/kubernetes", "version": "v1.37.1", "h1": "h1:x="}
    proof = RebuildProof.model_validate(
        {
            "schema": 1,
            "name": "kubeadm",
            "path": "k8s/kubeadm",
            "architecture": "amd64",
            "sha256": program,
            "go": "1.26.8",
            "command": ("go", "build"),
            "commit": "0" * 40,
            "date": "2026-01-01",
            "modules": (module,),
            "sums": "sum.golang.org",
            "tool": "1",
        }
    )
    bundle = json.loads(signed_proof(proof, signer, moment=datetime(2026, 1, 1, tzinfo=UTC)))

    def read(data: bytes, _folder: Path) -> object:
        one = EvidenceFile(kind="proof", path="evidence/x", sha256=program, size=len(data))
        told = RebuiltProgram(
            subject="kubeadm", path="k8s/kubeadm", sha256=program, evidence=(one,)
        )
        found = judge_rebuilt(told, lambda _: data, trusted)
        if found.count and found.proof != proof:
            raise Wrong("a proof that was changed counts")
        return found

    return of_json([proof.to_data(), bundle], read)


def _registration(_samples: Samples, _stack: ExitStack) -> Rig:
    values = [registration_of().to_data(), ABLESTACK]

    def read(data: bytes, folder: Path) -> object:
        path = put(folder, f"x{SUFFIX}", data)
        read_catalogue(folder, url_base="https://x.example")
        return read_registration(path)

    return of_json(values, read)


def _mold_files(_samples: Samples, _stack: ExitStack) -> Rig:
    values = [PLAN, {"isos": [registration_of().to_data(), ABLESTACK]}]

    def read(data: bytes, folder: Path) -> object:
        path = put(folder, "x.json", data)
        for load in (read_plan, read_catalogue):
            with contextlib.suppress(InputError):
                load(path)
        return read_plan(path)

    return of_json(values, read)


def _imported(samples: Samples, _stack: ExitStack) -> Rig:
    recipe = load_recipe(samples.folder / "kubernetes-1.34.12.yaml")

    def read(data: bytes, folder: Path) -> object:
        found = load_imported(put(folder, "x.json", data))
        recipe_data(found, "x.json")
        return lock_from(found, recipe, "x.json")

    return of_json([json.loads(FACTS.read_text())], read)


def _oci(samples: Samples, _stack: ExitStack) -> Rig:
    texts = (json.dumps(one).encode() for one in samples.documents if "layers" in one)
    whole = parse_manifest(next(texts), place="x")

    def read(data: bytes, _folder: Path) -> object:
        with contextlib.suppress(InputError, IntegrityError):
            config = parse_config(data, place="x")
            check_config(config, whole, "amd64", place="x")
        with contextlib.suppress(IntegrityError):
            parse_any(data, place="x")
        document = read_document(data, place="x", content_type=None)
        if isinstance(document, ImageIndex):
            return choose_platform(document, "amd64", place="x")
        return document.blobs

    return of_json(samples.documents, read)


RELEASES = [
    {
        "tag_name": "v1.34.12",
        "published_at": "2026-01-02T03:04:05Z",
        "draft": False,
        "prerelease": False,
        "assets": [{"name": "a.tgz", "digest": "sha256:" + "ab" * 32}],
    },
    {"tag_name": "kustomize/v5.0.0", "published_at": None, "assets": []},
]

SCHEDULE = {
    "schedules": [
        {
            "release": "1.34",
            "releaseDate": "2025-08-27",
            "endOfLifeDate": "2026-10-27",
            "maintenanceModeStartDate": "2026-08-27",
            "next": {"release": "1.34.13", "cherryPickDeadline": "N/A", "targetDate": ""},
            "previousPatches": [{"release": "1.34.12", "targetDate": "2026-01-02", "note": "x"}],
        }
    ]
}


CVES = {
    "items": [
        {
            "id": "CVE-2026-11111",
            "summary": "follows links",
            "status": "fixed",
            "external_url": "https://www.cve.org/cverecord?id=CVE-2026-11111",
            "content_text": "#### Fixed Versions\n- kubelet v1.34.12\n#### Detection\n",
        }
    ]
}


def _upstream(_samples: Samples, _stack: ExitStack) -> Rig:
    """Releases at GitHub, Go's index of modules, markers and the schedule."""

    def read(data: bytes, _folder: Path) -> object:
        for use in (
            *(github_releases, module_versions, module_day, marker, read_schedule),
            *(read_cves, own_releases, commit_of, sdk_of),
            partial(baseline_of, release=OwnRelease("x", None, None, 1, "0", None, None)),
        ):
            with contextlib.suppress(UpstreamError):
                use(data, "x")
        return None

    texts = [b"v1.34.12\n", b"v1.34.11\nv1.34.12-rc.1\nv1.34.12\n"]
    values = [
        RELEASES,
        SCHEDULE,
        CVES,
        {"sha": "ab" * 20},
        {"Version": "v1.34.12", "Time": "2026-01-02T03:04:05Z"},
    ]

    def case(chance: Chance) -> bytes:
        if chance.random() < 0.2:
            return edited_text(chance.choice(texts), chance)
        return edited_json(chance.choice(values), chance)

    return Rig(case, read)


def _shared(_samples: Samples, _stack: ExitStack) -> Rig:
    """What the tags of a shared store name."""
    digest = Digest.of(b"x")
    texts = (manifest_of((digest, 5)), manifest_of(None, "somebody 1"))
    return of_json([json.loads(text) for text in texts], lambda data, _: read_entry(data, "x"))


def _reasons(_samples: Samples, _stack: ExitStack) -> Rig:
    """What servers say when they refuse."""
    told = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    texts = [told, b"<html><title>403</title><body>no</body></html>", b"no such thing\n"]
    values = [
        {"errors": [{"code": "DENIED", "message": "no", "detail": {"a": [1]}}]},
        {"error": "invalid_scope", "error_description": "no"},
        {"message": "API rate limit exceeded"},
    ]

    def case(chance: Chance) -> bytes:
        if chance.random() < 0.5:
            return edited_text(chance.choice(texts), chance)
        return edited_json(chance.choice(values), chance)

    def read(data: bytes, _folder: Path) -> object:
        for kind in ("application/json", "application/xml", "text/html", "text/plain", ""):
            if bad := unfit(reason_in(data, kind)):
                raise Wrong(bad)
        return None

    return Rig(case, read)


def _logins(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, folder: Path) -> object:
        credentials = Credentials([put(folder, "config.json", data)])
        return [
            credentials.find(f"https://{host}", "team/x")
            for host in ("r.example", "registry-1.docker.io", "other.example")
        ]

    return of_json([AUTH], read)


def _store(samples: Samples, _stack: ExitStack) -> Rig:
    """Notes, leases, downloads on their way and blobs of a store, damaged or strange."""
    digest = Digest.of(b"x")
    names = (
        *(f"notes/lock/{digest.hex}", f"notes/os-payload/{digest.hex}", "notes/os-payload/.nfs01"),
        *(
            "notes/lock/x\n",
            f"partial/{digest.hex}.json",
            f"partial/{digest.hex}.part",
            "partial/a",
        ),
        *(f"partial/{digest.hex}.12.stretch", f"partial/{digest.hex}.².stretch", "leases/lease-a"),
        *(f"blobs/sha256/{digest.hex[:2]}/{digest.hex}", "blobs/sha256/zz/x", "locks/x.lock"),
    )
    values = [
        *samples.json("0.lock.json", "boot/kiso/payload.json"),
        [str(digest)],
        {"url": "https://x.example/a", "etag": '"a"', "last_modified": None},
    ]

    def case(chance: Chance) -> bytes:
        name = chance.choice(names)
        return json.dumps(name).encode() + b"\n" + edited_json(chance.choice(values), chance)

    def read(data: bytes, folder: Path) -> object:
        name, _, content = data.partition(b"\n")
        root = folder / "store"
        path = put(root, json.loads(name), content)
        if len(content) % 7 == 0:
            path.unlink()
            path.symlink_to(folder.parent / "secret" / "id_rsa")
        store = Store(root)
        with partial_of(store, digest.hex) as partial:
            if partial is not None:
                _ = partial.origin, partial.size, partial.stretches()
        names_of(store)
        payloads(store)
        stored(store)
        with lease(store, [digest]):
            if path.parent.name == "leases" and path.exists():
                path.write_bytes(content)
            collect(store, reachable=())
        check(store)
        return store.find(digest)

    return Rig(case, read)


RECORDS = (
    Target("json", ("documents/json.py",), _json),
    Target("lock-file", ("model/loading.py", "model/validation.py", "model/lock.py"), _lock),
    Target("manifest-json", ("model/loading.py", "model/isomanifest.py"), _manifest),
    Target("payload", ("model/payload.py",), _payload),
    Target(
        "signature",
        ("trust/dsse.py", "trust/signature.py", "trust/statement.py", "trust/signed.py"),
        _signature,
    ),
    Target("registration", ("mold/catalogue.py", "model/registration.py"), _registration),
    Target("mold-files", ("mold/plan.py", "mold/jsonfile.py"), _mold_files),
    Target("other-builder", ("compat/ablestack.py",), _imported),
    Target("oci", ("formats/oci.py",), _oci),
    Target("proof", ("trust/rebuild/claims.py", "trust/rebuild/proof.py"), _proof),
    Target("bundle", ("trust/evidence/bundle.py", "trust/evidence/fields.py"), _bundle),
    Target(
        "upstream",
        (
            *("sources/upstream/answers.py", "sources/upstream/schedule.py"),
            *("sources/upstream/cves.py", "sources/upstream/own.py"),
        ),
        _upstream,
    ),
    Target("reasons", ("sources/reasons.py",), _reasons),
    Target("shared", ("sources/shared_entry.py",), _shared),
    Target("logins", ("sources/registry_auth.py",), _logins),
    Target(
        "store",
        (
            *("store/partial.py", "store/upkeep.py", "store/blobs.py", "pipeline/fetch.py"),
            "machine/payload.py",
        ),
        _store,
    ),
)
