"""Lists of vulnerabilities, statements about them, and the verdict."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError
from isobuilder.formats.packages.package import Package
from isobuilder.trust.bill.advisories import Hit, apply_list
from isobuilder.trust.bill.cvss import base_score
from isobuilder.trust.bill.gate import GatePolicy, judge, read_gate_policy
from isobuilder.trust.bill.model import Bill
from isobuilder.trust.bill.vex import Statement, read_vex
from tests.trust.bill.bills import DIGITS, bill_of, image_part

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NET = "pkg:golang/golang.org/x/net@v0.30.0"
IMAGE = f"pkg:oci/etcd@sha256%3A{DIGITS}"


def osv(name: str, ecosystem: str, *events: dict[str, str], **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
    }
    return {"id": "GO-2026-0001", "modified": "2026-01-01T00:00:00Z", "affected": [affected]} | more


def hits(*records: dict[str, Any], bill: Bill | None = None) -> tuple[Hit, ...]:
    return apply_list(json.dumps(list(records)).encode(), "osv.json", bill or bill_of()).hits


FROM_0 = {"introduced": "0"}


@pytest.mark.parametrize(
    ("events", "there"),
    [
        ([FROM_0, {"fixed": "0.31.0"}], True),
        ([FROM_0, {"fixed": "0.30.0"}], False),
        ([FROM_0, {"last_affected": "0.30.0"}], True),
        ([FROM_0, {"last_affected": "0.29.9"}], False),
        ([{"introduced": "0.30.1"}], False),
        ([{"introduced": "0.1.0"}, {"fixed": "0.2.0"}, {"introduced": "0.30.0"}], True),
        ([{"fixed": "0.2.0"}, FROM_0, {"fixed": "0.40.0"}, {"introduced": "0.29.0"}], True),
        ([], False),
    ],
)
def test_a_record_holds_for_its_versions(events: list[dict[str, str]], there: bool) -> None:
    assert bool(hits(osv("golang.org/x/net", "Go", *events))) == there


def test_versions_that_are_listed_count_too() -> None:
    record = osv("golang.org/x/net", "Go")
    record["affected"][0]["versions"] = ["0.30.0"]
    assert [hit.part.name for hit in hits(record)] == ["golang.org/x/net"]


@pytest.mark.parametrize(
    ("name", "ecosystem", "part"),
    [
        ("openssl", "Debian:13", "libssl3t64"),
        ("openssl", "Debian", "libssl3t64"),
        ("openssl", "Debian:12", None),
        ("libssl3t64", "Debian:13", None),
        ("flask-thing", "PyPI", "Flask_Thing"),
        ("Flask.Thing", "PyPI", "Flask_Thing"),
        ("@a/b", "npm", "@a/b"),
        ("stdlib", "Go", "stdlib"),
        ("golang.org/x/net", "npm", None),
    ],
)
def test_a_record_is_about_a_package_of_one_ecosystem_and_release(
    name: str, ecosystem: str, part: str | None
) -> None:
    found = hits(osv(name, ecosystem, FROM_0))
    assert [hit.part.name for hit in found] == ([part] if part else [])


def test_a_release_of_alpine_or_rocky_is_told_by_its_own_rule() -> None:
    alpine = image_part(
        packages=(Package("apk", "libssl3", "3.3.0-r0", "x86_64", "openssl"),),
        system=(("ID", "alpine"), ("VERSION_ID", "3.20.1")),
    )
    rocky = image_part(
        "registry.k8s.io/rocky",
        packages=(Package("rpm", "bash", "5.1.8-9.el9", facts=(("epoch", "0"),)),),
        system=(("ID", "rocky"), ("VERSION_ID", "9.4")),
    )
    bill = bill_of(alpine, rocky)
    found = hits(
        osv("openssl", "Alpine:v3.20", FROM_0, {"fixed": "3.3.1-r0"}),
        osv("bash", "Rocky Linux:9", FROM_0, {"fixed": "0:5.1.8-10.el9"}, id="RLSA-1"),
        osv("openssl", "Alpine:v3.2", FROM_0, id="no"),
        osv("bash", "Rocky Linux:8", FROM_0, id="no"),
        bill=bill,
    )
    assert {(hit.name, hit.part.name) for hit in found} == {
        ("GO-2026-0001", "libssl3"),
        ("RLSA-1", "bash"),
    }


def test_a_withdrawn_record_says_nothing() -> None:
    assert not hits(osv("golang.org/x/net", "Go", FROM_0, withdrawn="2026-02-01T00:00:00Z"))


VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({"database_specific": {"severity": "MODERATE"}}, "medium"),
        ({"severity": [{"type": "CVSS_V3", "score": VECTOR}]}, "critical"),
        ({"severity": [{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N"}]}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_severity_is_a_word_or_a_score_of_the_record(more: dict[str, Any], severity: str) -> None:
    (hit,) = hits(osv("golang.org/x/net", "Go", FROM_0, **more))
    assert hit.severity == severity


@pytest.mark.parametrize(
    ("vector", "score"),
    [  # FIRST's examples for CVSS 3.1
        (VECTOR, 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 8.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:N", None),
        ("AV:N/AC:L/Au:N/C:P/I:P/A:P", None),
    ],
)
def test_the_score_of_a_vector_is_that_of_the_specification(
    vector: str, score: float | None
) -> None:
    assert base_score(vector) == score


def test_records_may_be_one_or_one_for_each_line() -> None:
    record = osv("golang.org/x/net", "Go", FROM_0)
    one = json.dumps(record).encode()
    assert len(apply_list(one, "x", bill_of()).hits) == 1
    other = json.dumps(record | {"id": "GO-2"}).encode()
    assert len(apply_list(one + b"\n" + other + b"\n", "x", bill_of()).hits) == 2


def grype(purl: str, severity: str = "High") -> bytes:
    match = {
        "vulnerability": {"id": "GHSA-1", "severity": severity, "fix": {"versions": ["0.31.0"]}},
        "relatedVulnerabilities": [{"id": "CVE-2026-1"}],
        "artifact": {"name": "x", "version": "1", "purl": purl},
    }
    return json.dumps({"matches": [match], "descriptor": {"name": "grype"}}).encode()


def test_a_report_of_grype_counts_for_what_is_in_the_bill() -> None:
    applied = apply_list(grype(NET), "grype.json", bill_of())
    (hit,) = applied.hits
    assert (hit.name, hit.severity, hit.fixed) == ("GHSA-1", "high", ("0.31.0",))
    assert hit.names == {"GHSA-1", "CVE-2026-1"}
    other = apply_list(grype("pkg:golang/x/y@v1"), "grype.json", bill_of())
    assert (other.hits, other.elsewhere) == ((), 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"7", "expected OSV records or a report of Grype"),
        (b'{"matches": 7}', "matches"),
        (b'[{"id": ""}]', "record 0: id"),
        (b'{"id": "a", "affected": [{"ranges": 7}]}', "record 0: affected.0.ranges"),
        (b'{"id": "a"}\n{"id"\n', "line 2"),
    ],
)
def test_a_list_that_is_none_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        apply_list(data, "list.json", bill_of())


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def test_a_zip_of_records_says_what_a_list_of_them_says() -> None:
    records = [osv("golang.org/x/net", "Go", FROM_0), osv("none", "Go", FROM_0, id="GO-2")]
    archive = zipped({f"{one['id']}.json": json.dumps(one).encode() for one in records})
    applied = apply_list(archive, "all.zip", bill_of())
    assert applied == apply_list(json.dumps(records).encode(), "osv.json", bill_of())
    assert (len(applied.hits), applied.records) == (1, 2)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"GO-1.json": b"{"}, "all.zip: GO-1.json: not JSON"),
        ({"GO-1.json": b'{"id": ""}'}, "all.zip: GO-1.json: id"),
        ({"README.md": b"{}"}, "all.zip: README.md: expected only .json files"),
    ],
)
def test_a_zip_of_something_else_is_refused(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(InputError, match=said):
        apply_list(zipped(files), "all.zip", bill_of())


# --- VEX ---


def vex(*statements: dict[str, Any], **more: Any) -> bytes:
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://example.com/vex/1",
        "author": "Security team",
        "timestamp": "2026-11-01T00:00:00Z",
        "version": 1,
        "statements": list(statements),
    }
    return json.dumps(document | more).encode()


def said(status: str = "not_affected", purl: str = NET, **more: Any) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "vulnerability": {"name": "CVE-2026-1"},
        "products": [{"@id": purl}],
        "status": status,
    }
    if status == "not_affected":
        statement["justification"] = "vulnerable_code_not_present"
    if status == "affected":
        statement["action_statement"] = "wait"
    return statement | more


def statements(*documents: bytes) -> list[Statement]:
    return [one for data in documents for one in read_vex(data, "our.vex.json", bill_of(), NOW)]


def verdict_of(*documents: bytes, policy: GatePolicy | None = None, now: datetime = NOW) -> str:
    found = apply_list(grype(NET), "x", bill_of()).hits
    (one,) = judge(found, statements(*documents), policy or GatePolicy(), now).judged
    return one.answer


def test_a_statement_settles_a_finding_in_the_part_it_names() -> None:
    assert verdict_of() == "refused"
    assert verdict_of(vex(said())) == "not_affected"
    assert verdict_of(vex(said("fixed"))) == "fixed"
    assert verdict_of(vex(said("under_investigation"))) == "refused"
    assert verdict_of(vex(said("affected"))) == "refused"
    assert verdict_of(vex(said(purl="pkg:golang/stdlib@1.24.6"))) == "refused"
    inside = said(products=[{"@id": IMAGE, "subcomponents": [{"@id": NET}]}])
    assert verdict_of(vex(inside)) == "not_affected"
    assert verdict_of(vex(said(purl=IMAGE))) == "not_affected"


def test_of_two_statements_the_later_counts() -> None:
    later = said("affected", timestamp="2026-11-20T00:00:00Z")
    assert verdict_of(vex(said(), later)) == "refused"
    assert verdict_of(vex(later | {"timestamp": "2026-10-01T00:00:00Z"}, said())) == "not_affected"


def test_a_statement_ends() -> None:
    late = NOW + timedelta(days=180)
    assert verdict_of(vex(said()), now=late) == "refused"
    found = apply_list(grype(NET), "x", bill_of()).hits
    told = judge(found, statements(vex(said())), GatePolicy(), late).expired
    assert told == ("GHSA-1: the statement of Security team ended 2027-04-30",)
    renewed = vex(said(last_updated="2026-11-27T00:00:00Z"))
    assert verdict_of(renewed, now=NOW + timedelta(days=170)) == "not_affected"


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (vex(said(purl="pkg:golang/golang.org/x/net")), "names no version"),
        (vex(said(purl="pkg:golang/golang.org/x/net@v0.29.0")), "is not in the bill"),
        (
            vex(said(purl="pkg:deb/debian/libssl3t64@3.5.1-1?arch=arm64")),
            "is not in the bill",
        ),
        (vex(said(products=[{"@id": "https://example.com/product"}])), "expected a package URL"),
        (vex(said(products=[{"@id": NET, "hashes": {"sha-256": "00"}}])), "is not in the bill"),
        (vex(said(products=[{"@id": IMAGE, "subcomponents": [{"@id": "pkg:npm/x@1"}]}])), "not in"),
        (vex(said(products=[])), "names no product"),
        (vex(said(justification=None)), "needs a justification"),
        (vex(said("fixed", justification="component_not_present")), "is for not_affected"),
        (vex(said("affected", action_statement=None)), "needs an action_statement"),
        (vex(said(timestamp="2027-01-01T00:00:00Z")), "said on 2027-01-01, and it is 2026-11-28"),
        (vex(said(timestamp="yesterday")), "expected a time"),
        (vex(said(status="harmless")), "status"),
        (vex(said(), **{"@context": "https://openvex.dev/ns/v0.0.1"}), "@context"),
        (vex(), "statements"),
        (vex(said(), author=""), "author"),
        (b"{}", "our.vex.json: "),
        (b"[1]", "our.vex.json: "),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_statement_that_is_not_exact_or_not_allowed_is_refused(
    document: bytes, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        statements(document)


def test_all_mistakes_of_a_document_are_told() -> None:
    bad = vex(said(products=[]), said(purl="pkg:npm/x@1"))
    with pytest.raises(InputError) as caught:
        statements(bad)
    assert len(caught.value.lines) == 2


# --- policy ---


def test_a_policy_says_what_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(
        "schema: 1\nfail_on: critical\nonly_fixed: true\nvex_days: 30\naccepted:\n"
        f"  - {{id: CVE-2026-1, until: 2026-12-31, reason: not reachable, purl: '{NET}'}}\n"
    )
    policy = read_gate_policy(file)
    assert verdict_of(policy=policy) == "accepted"
    assert verdict_of(policy=policy, now=NOW + timedelta(days=40)) == "below"
    assert verdict_of(policy=GatePolicy(fail_on="critical")) == "below"
    (hit,) = hits(osv("golang.org/x/net", "Go", FROM_0))
    for policy, answer in (
        (GatePolicy(), "refused"),
        (GatePolicy(unknown="pass"), "below"),
        (GatePolicy(only_fixed=True), "no-fix"),
    ):
        (one,) = judge([hit], [], policy, NOW).judged
        assert one.answer == answer


def test_a_policy_with_mistakes_is_told_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text("fail_on: severe\nvex_days: 0\naccepted:\n  - {id: a, until: soon}\n")
    with pytest.raises(InputErrors) as caught:
        read_gate_policy(file)
    assert [mistake.mark.line for mistake in caught.value.mistakes] == [1, 2, 4, 4]


def test_what_nothing_asks_for_is_told() -> None:
    told = judge([], statements(vex(said())), GatePolicy(), NOW).unused
    assert told == ("statements[0] of CVE-2026-1",)
