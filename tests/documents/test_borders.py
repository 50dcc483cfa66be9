"""Whatever a stranger's JSON is, whoever reads it says so in an error of ours."""

from __future__ import annotations

import ast
import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from isobuilder.compat.ablestack import load_imported
from isobuilder.content.archives import tar_header
from isobuilder.contract.archives import as_imported
from isobuilder.delta.container import Delta
from isobuilder.digest import Digest
from isobuilder.errors import (
    InputError,
    IntegrityError,
    IsobuilderError,
    MoldError,
    UpstreamError,
)
from isobuilder.formats.archive import read_archive
from isobuilder.formats.oci import parse_any, parse_config, read_document
from isobuilder.http.client import Http
from isobuilder.http.settings import HttpSettings
from isobuilder.iso.check.archives import Expected, check_archive
from isobuilder.medium import Medium
from isobuilder.model.config import Config
from isobuilder.model.loading import load_lock, parse_manifest_json
from isobuilder.model.payload import read_payload
from isobuilder.model.trust.claims import CLAIMS
from isobuilder.mold.api.client import MoldClient
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.mold.audit import read_ends
from isobuilder.mold.catalogue import SUFFIX, read_registration
from isobuilder.mold.plan import read_plan
from isobuilder.pipeline.fetch import names_of
from isobuilder.pipeline.matrix import read_verdict
from isobuilder.pipeline.trust import Trust, prove_signatures
from isobuilder.pipeline.upgrade import running_nodes
from isobuilder.pipeline.upstream.report import Journal
from isobuilder.pipeline.upstream.seen import load_seen
from isobuilder.publish.index import INDEX, read_index
from isobuilder.rules.book import read_rules
from isobuilder.site.bundles.admit import StoreKeeper, take_part
from isobuilder.site.bundles.arrival import settle
from isobuilder.site.bundles.bundle import Bundle, Carried
from isobuilder.site.catalog import entries_of
from isobuilder.site.dockerarchive import saved_images
from isobuilder.site.ledgers.records import read_record
from isobuilder.site.signatures import signatures_of
from isobuilder.sources.evidence import EvidenceSource
from isobuilder.sources.pushing import RegistryWriter
from isobuilder.sources.reasons import reason_in
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.registry_tokens import RegistryTokens
from isobuilder.sources.session import open_session
from isobuilder.sources.shared_entry import read_entry
from isobuilder.sources.upstream.answers import github_releases, module_day
from isobuilder.sources.upstream.cves import read_cves
from isobuilder.sources.upstream.own import OwnRelease, baseline_of, commit_of, own_releases
from isobuilder.store import Store, collect, lease, partial_of
from isobuilder.trust.bill.look import LayerContents
from isobuilder.trust.bill.model import read_bill
from isobuilder.trust.bill.notes import Notes
from isobuilder.trust.bill.vex import read_vex
from isobuilder.trust.evidence.bundle import read_bundle
from isobuilder.trust.evidence.rekor import answered
from isobuilder.trust.evidence.root import load_root, read_root
from isobuilder.trust.rebuild.claims import read_proof
from isobuilder.trust.signature import read_signature
from isobuilder.trust.statement import read_statement
from tests.contract.forms import PAUSE
from tests.contract.trees import DictMedium, tar
from tests.delta.sealing import sealed
from tests.trust.bill.bills import bill_of as small_bill

PACKAGE = Path(__file__).parents[2] / "isobuilder"

BAD = {
    "nothing": b"",
    "html": b"<html>nothing of the kind</html>",
    "cut": b'{"schema": 1, "files": [',
    "null": b"null",
    "number": b"7",
    "list": b"[]",
    "text": b'"x"',
    "list of numbers": b"[0, 0]",
    "object": b"{}",
    "texts": b'{"files": "x", "images": 5, "auths": [], "schemaVersion": "2", "manifests": {}}',
    "doubled": b'{"schema": 1, "schema": 1, "files": {}}',
    "doubled and cut": b'{"a": 1, "a": 1',
    "deep": b'{"files":' + b"[" * 90_000,
    "deep but whole": b"[" * 90_000 + b"]" * 90_000,
    "digits": b'{"schema": ' + b"9" * 5000 + b"}",
    "large": b'{"schema": 1e999, "size": -1e999}',
    "no number": b'{"schema": NaN, "size": Infinity}',
    "surrogate": b'{"schema": 1, "name": "\\ud800", "files": {"\\udfff": 1}}',
    "latin": b'{"name": "\xe9"}',
    "utf-16": '{"name": "x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "nul": b'{"a": "\x00"}',
    "escape": b'{"a\\u001b[31m": "\x1b]0;x\x07"}',
    "many": b"[" + b"0," * 600_000 + b"0]",
    "many lists": b'{"images": [' + b"[]," * 400_000 + b"0]}",
}

A_RELEASE = OwnRelease("x", "1.37", None, 1, "0" * 12, "0" * 40, None)
HARMLESS = {"object", "texts"}  # where no key must be there

Reads = Callable[[bytes, Path], object]


def file_with(data: bytes, folder: Path, name: str = "x.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def in_archive(name: str) -> Reads:
    def read(data: bytes, _folder: Path) -> object:
        files = {} if name == "manifest.json" else PAUSE.oci_files()  # as docker save, or as OCI
        return as_imported(read_archive(io.BytesIO(tar({**files, name: data}))))

    return read


def saved(data: bytes, _folder: Path) -> object:
    return list(saved_images(read_archive(io.BytesIO(tar({"manifest.json": data})))))


def on_medium(data: bytes, _folder: Path) -> object:
    medium = Medium(DictMedium({"manifest.json": data, "payload.json": data}))
    ours = (medium.manifest, medium.payload("payload.json"))
    assert all(isinstance(one, IntegrityError) for one in ours)
    found = medium.json("manifest.json")
    if isinstance(found, IntegrityError):
        raise found
    return found


def in_archive_of_iso(data: bytes, _folder: Path) -> object:
    medium = Medium(DictMedium({"docker/a.tar": tar({**PAUSE.oci_files(), "oci-layout": data})}))
    found = check_archive(medium, "docker/a.tar", Expected()).findings
    assert any(finding.rule == "oci.layout" for finding in found)
    return found


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """A server that answers everything with ``data``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def tags(data: bytes, _folder: Path) -> object:
    with answering(data) as url, Http(HttpSettings(retries=0), netrc=False) as http:
        writer = RegistryWriter(url, http, Credentials(()))
        return writer.tags("team/x"), writer.referrers("team/x", Digest.of(b"x"))


def attestations(data: bytes, folder: Path) -> object:
    with answering(data) as url:
        config = Config(mirrors={"https://api.github.com": (url,)}, retries=0)
        with open_session(config, Store(folder)) as session:
            return EvidenceSource(session).attestations("x/y", Digest.of(b"x"))


def claims_of_iso(data: bytes, _folder: Path) -> object:
    medium = Medium(DictMedium({CLAIMS: data}))
    report = prove_signatures(medium, {}, None, Trust(load_root(None), {}))
    assert [finding.place for finding in report.findings] == [CLAIMS]
    return report


def signatures_on_medium(data: bytes, _folder: Path) -> object:
    return list(signatures_of(Medium(DictMedium({CLAIMS: data})), {}, ()))


def token(data: bytes, _folder: Path) -> object:
    with answering(data) as url, Http(HttpSettings(retries=0), netrc=False) as http:
        tokens = RegistryTokens(http, Credentials(()))
        challenge = {"WWW-Authenticate": f'Bearer realm="{url}/token",service="x"'}
        return tokens.renew(url, "team/x", challenge, None)


def login(data: bytes, folder: Path) -> object:
    credentials = Credentials([file_with(data, folder)])
    return credentials.find("https://r.example", "team/x")


def helper(data: bytes, folder: Path) -> object:
    program = file_with(
        b"#!/bin/sh\ncat " + bytes(folder) + b"/said\n", folder, "bin/docker-credential-x"
    )
    program.chmod(0o755)
    file_with(data, folder, "said")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
        return login(b'{"credsStore": "x"}', folder)


def answer(data: bytes, _folder: Path) -> object:
    with answering(data) as url:
        key = ApiKey("key-0123456789", "secret-0123456789")
        return MoldClient(MoldServer("m", url, key)).call("listZones")


def registration(data: bytes, folder: Path) -> object:
    return read_registration(file_with(data, folder, "x" + SUFFIX))


def delta(data: bytes, folder: Path) -> object:
    with Delta(file_with(sealed(data, b""), folder)) as found:
        return found.links


def held_lease(data: bytes, folder: Path) -> object:
    store = Store(folder)
    with lease(store, [Digest.of(b"x")]):
        (path,) = (folder / "leases").glob("lease-*")
        path.write_bytes(data)
        return collect(store, reachable=())


def note_of_partial(data: bytes, folder: Path) -> object:
    file_with(data, folder, "partial/key.json")
    with partial_of(Store(folder), "key") as partial:
        assert partial is not None
        return partial.origin


def noted_lock(data: bytes, folder: Path) -> object:
    store = Store(folder)
    store.remember("lock", Digest.of(data), data)
    assert names_of(store) == {}
    return data


def bundle_json(data: bytes, folder: Path) -> object:
    padded = tar_header("bundle.json", len(data)) + data + bytes(-len(data) % 512)
    return take_part(io.BytesIO(padded), "x", StoreKeeper(Store(folder)))


def carried_lock(data: bytes, folder: Path) -> object:
    store = Store(folder)
    item = Carried(digest=Digest.of(data), size=len(data), kind="lock", names=("x.json",))
    store.add_bytes(data)
    facts = {"schema": 1, "tool": "x", "part_size": None, "part": 1, "contents": (item,)}
    return settle(Bundle.model_validate(facts), store, None)


def _noted(data: bytes, folder: Path) -> object:
    store = Store(folder / "store")
    key = Digest.of(b"a layer")
    Notes(store).remember(key, LayerContents())
    (note,) = (store.root / "notes" / "inside").iterdir()
    note.write_bytes(data)
    return Notes(store).recall(key)


BORDERS: dict[str, list[tuple[Reads, type[IsobuilderError] | None]]] = {
    "trust/bill/model.py": [(lambda data, _: read_bill(data, "x.cdx.json"), InputError)],
    "trust/bill/notes.py": [(_noted, None)],
    "trust/bill/vex.py": [
        (lambda data, _: read_vex(data, "x.vex.json", small_bill(), datetime.now(UTC)), InputError)
    ],
    "model/loading.py": [
        (lambda data, folder: load_lock(file_with(data, folder)), InputError),
        (lambda data, _: parse_manifest_json(data, "manifest.json"), InputError),
    ],
    "compat/ablestack.py": [
        (lambda data, folder: load_imported(file_with(data, folder)), InputError)
    ],
    "formats/oci.py": [
        (lambda data, _: read_document(data, place="x"), IntegrityError),
        (lambda data, _: parse_config(data, place="x"), IntegrityError),
        (lambda data, _: parse_any(data, place="x"), IntegrityError),
    ],
    "contract/archives.py": [
        (in_archive("index.json"), IntegrityError),
        (in_archive("oci-layout"), IntegrityError),
        (in_archive("manifest.json"), IntegrityError),
    ],
    "medium.py": [(on_medium, None)],
    "iso/check/archives.py": [(in_archive_of_iso, None)],
    "model/payload.py": [(lambda data, _: read_payload(data, place="x"), InputError)],
    "pipeline/fetch.py": [(noted_lock, None)],
    "pipeline/matrix.py": [
        (lambda data, folder: read_verdict(file_with(data, folder)), InputError)
    ],
    "pipeline/upstream/report.py": [
        (lambda data, folder: Journal(file_with(data, folder)).untold, None)
    ],
    "publish/index.py": [
        (lambda data, folder: read_index(file_with(data, folder, INDEX).parent), InputError)
    ],
    "pipeline/upgrade.py": [
        (lambda data, folder: running_nodes(file_with(data, folder)), InputError)
    ],
    "pipeline/upstream/seen.py": [
        (lambda data, folder: load_seen(file_with(data, folder)), InputError),
    ],
    "delta/container.py": [(delta, IntegrityError)],
    "site/bundles/admit.py": [(bundle_json, IntegrityError)],
    "site/bundles/arrival.py": [(carried_lock, IntegrityError)],
    "site/signatures.py": [(signatures_on_medium, InputError)],
    "site/ledgers/records.py": [
        (
            lambda data, folder: read_record(file_with(data, folder, "x.json").parent, "x"),
            InputError,
        )
    ],
    "rules/book.py": [(lambda data, folder: read_rules(file_with(data, folder)), InputError)],
    "sources/upstream/answers.py": [
        (lambda data, _: github_releases(data, "x"), None),
        (lambda data, _: module_day(data, "x"), None),
    ],
    "sources/upstream/cves.py": [(lambda data, _: read_cves(data, "x"), UpstreamError)],
    "sources/upstream/own.py": [
        (lambda data, _: own_releases(data, "x"), None),
        (lambda data, _: commit_of(data, "x"), UpstreamError),
        (lambda data, _: baseline_of(data, "x", A_RELEASE), UpstreamError),
    ],
    "sources/shared_entry.py": [(lambda data, _: read_entry(data, "x"), IntegrityError)],
    "sources/reasons.py": [(lambda data, _: reason_in(data, "application/json"), None)],
    "site/dockerarchive.py": [(saved, IntegrityError)],
    "site/catalog.py": [(lambda data, _: entries_of(data, "x"), IntegrityError)],
    "sources/pushing.py": [(tags, None)],
    "sources/evidence.py": [(attestations, IntegrityError)],
    "pipeline/trust.py": [(claims_of_iso, None)],
    "trust/statement.py": [(lambda data, _: read_statement(data, "x"), IntegrityError)],
    "trust/evidence/fields.py": [(lambda data, _: read_bundle(data, "x"), IntegrityError)],
    "trust/evidence/root.py": [(lambda data, _: read_root(data, "x"), IntegrityError)],
    "trust/evidence/rekor.py": [(lambda data, _: answered(data, "x"), None)],
    "sources/registry_tokens.py": [(token, UpstreamError)],
    "sources/registry_auth.py": [(login, None), (helper, None)],
    "store/partial.py": [(note_of_partial, None)],
    "store/upkeep.py": [(held_lease, None)],
    "mold/api/transport.py": [(answer, MoldError)],
    "mold/catalogue.py": [(registration, InputError)],
    "mold/audit.py": [(lambda data, folder: read_ends(file_with(data, folder)), None)],
    "trust/signature.py": [(lambda data, _: read_signature(data, "x"), IntegrityError)],
    "trust/rebuild/claims.py": [(lambda data, _: read_proof(data, "x"), IntegrityError)],
    "mold/plan.py": [(lambda data, folder: read_plan(file_with(data, folder)), InputError)],
}
"""Every module that reads JSON -> how it does, and the error for whatever it cannot use. With None
some of ``BAD`` are no mistake there, or are told in another way."""

ELSEWHERE = {
    "formats/packages/node.py": "tests/formats/packages/test_languages.py",
    "trust/bill/advisories.py": "tests/trust/bill/test_gate.py",
    "model/validation.py": "what the others call",
    "mold/jsonfile.py": "what the others call",
    "pipeline/build.py": "tests/pipeline/test_build.py",
    "content/leaks.py": "tests/pipeline/test_leaks.py",
    "pipeline/compare.py": "tests/pipeline/test_compare.py",
    "pipeline/delta/beside.py": "tests/pipeline/delta/test_beside.py",
    "pipeline/upgrade.py": "tests/pipeline/test_upgrade.py",
    "report/site.py": "tests/report/test_catalogue.py",
    "report/subject.py": "tests/report/test_report.py",
    "rules/book.py": "tests/rules/test_book.py",
    "pipeline/upstream/seen.py": "tests/cli/test_upstream.py",
    "sources/upstream/answers.py": "tests/sources/test_upstream.py",
}


@pytest.mark.parametrize(
    ("border", "number"), [(name, n) for name, reads in BORDERS.items() for n in range(len(reads))]
)
def test_bad_json_is_told_in_our_words_at_every_border(
    border: str, number: int, tmp_path: Path
) -> None:
    reads, expected = BORDERS[border][number]
    for name, data in BAD.items():
        folder = tmp_path / name
        folder.mkdir()
        told: IsobuilderError | None = None
        try:
            reads(data, folder)
        except IsobuilderError as error:
            told = error
        if expected is not None and name not in HARMLESS:
            assert isinstance(told, expected), name
        assert len(str(told)) < 50_000, name


def test_every_module_that_reads_json_is_tried() -> None:
    readers = {"parse", "value_of", "model_of", "load_json", "parse_json", "read_json_file"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if not readers & set(re.findall(r"\w+", text)):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("isobuilder."):
                rooms = {"documents.json", "model.validation", "mold.jsonfile"}
                if (node.module or "").removeprefix("isobuilder.") in rooms:
                    names = {alias.name for alias in node.names}
                    found |= {str(path.relative_to(PACKAGE))} if names & readers else set()
    assert found == BORDERS.keys() | ELSEWHERE.keys()
