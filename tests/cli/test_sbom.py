from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
from tests.pipeline.world import Locked


def parts_of(data: str) -> list[dict[str, Any]]:
    document = json.loads(data)
    return [part for one in document["components"] for part in (one, *one.get("components", []))]


@pytest.fixture
def iso(built: Built, tmp_path: Path) -> Path:
    """The demo's ISO, alone in a folder that may be written."""
    target = tmp_path / built.iso.name
    target.symlink_to(built.iso)
    return target


def test_a_lock_and_its_iso_have_the_same_bill(
    built: Built, locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    store = ("--store", tmp_path / "empty")
    of_iso = call("sbom", "write", built.iso, *store).stdout
    own = ("--offline", "--store", full_store.root)
    assert call("sbom", "write", locked.path, *own).stdout == of_iso
    assert any(part["name"] == "stdlib" for part in parts_of(of_iso))


def test_a_bill_is_written_as_a_file_and_as_spdx(iso: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep.cdx.json"
    assert call("sbom", "write", iso, "-o", out).stdout == ""
    spdx = call("sbom", "write", out, "--format", "spdx").stdout
    assert json.loads(spdx)["spdxVersion"] == "SPDX-2.3"
    assert call("sbom", "write", iso, "--format", "spdx").stdout == spdx


def test_two_bills_are_compared(iso: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep.cdx.json"
    call("sbom", "write", iso, "-o", out)
    assert call("sbom", "diff", iso, out, "--exit-code").stdout == "no differences\n"
    changed = tmp_path / "changed.cdx.json"
    changed.write_text(out.read_text().replace('"version": "1.24.6"', '"version": "1.24.7"'))
    done = call("sbom", "diff", out, changed, "--exit-code", code=9)
    row = done.stdout.splitlines()[1].split()
    assert row[2:] == ["stdlib", "changed", "1.24.6", "1.24.7"]
    assert (
        "| stdlib | golang | 1.24.6 | 1.24.7 |"
        in call("sbom", "diff", out, changed, "--markdown").stdout
    )
    told = json.loads(call("sbom", "diff", out, changed, "--json").stdout)
    assert told[0]["change"] == "changed"


def test_the_bill_beside_an_iso_does_not_say_what_is_inside(built: Built) -> None:
    beside = built.iso.with_suffix(".sbom.cdx.json")
    done = call("sbom", "write", beside, code=3)
    assert "not what is inside of them" in errors(done)[0]
    assert "name the ISO" in hints(done)[0]


def test_a_bill_that_says_other_than_the_manifest_is_refused(built: Built, tmp_path: Path) -> None:
    data = built.iso.read_bytes()
    text = built.iso.with_suffix(".sbom.cdx.json").read_bytes()
    (part,) = (one for one in json.loads(text)["components"] if one["name"] == "k8s/kubeadm")
    other = text.replace(part["hashes"][0]["content"].encode(), b"ab" * 32)
    changed = tmp_path / "changed.iso"
    changed.write_bytes(data.replace(text, other))
    done = call("sbom", "write", changed, code=5)
    assert "k8s/kubeadm: sbom.cdx.json says" in errors(done)[0]


def osv(folder: Path, fixed: str) -> Path:
    record = {
        "id": "GO-2026-1",
        "database_specific": {"severity": "HIGH"},
        "affected": [
            {
                "package": {"ecosystem": "Go", "name": "stdlib"},
                "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": fixed}]}],
            }
        ],
    }
    path = folder / "osv.json"
    path.write_text(json.dumps([record]))
    return path


def statement(folder: Path, purl: str) -> Path:
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://example.com/vex/1",
        "author": "Security team",
        "timestamp": "2026-01-01T00:00:00Z",
        "version": 1,
        "statements": [
            {
                "vulnerability": {"name": "GO-2026-1"},
                "products": [{"@id": purl}],
                "status": "not_affected",
                "justification": "vulnerable_code_not_in_execute_path",
            }
        ],
    }
    path = folder / "statement.json"
    path.write_text(json.dumps(document))
    return path


def test_the_gate_refuses_and_a_statement_beside_the_iso_answers_it(
    iso: Path, tmp_path: Path
) -> None:
    found = osv(tmp_path, "1.99.0")
    asked = ("sbom", "gate", iso, "--list", found, "--at", "2026-02-01")
    refused = call(*asked, code=5)
    assert "the policy refuses" in errors(refused)[0]
    assert "refused  high" in refused.stdout
    done = call("sbom", "vex", iso, statement(tmp_path, "pkg:golang/stdlib@1.24.6"))
    assert done.stdout.strip() == str(iso.with_suffix(".vex.json"))
    assert call(*asked).stdout.splitlines()[-1].startswith("passed: ")
    told = json.loads(call(*asked, "--json").stdout)
    assert (told["passed"], told["as_of"]) == (True, "2026-02-01")
    assert {one["answer"] for one in told["found"]} == {"not_affected"}
    late = call(*asked[:-1], "2027-02-01", code=5)
    assert "ended 2026-06-30" in late.stderr
    assert call(*asked[:-3], osv(tmp_path, "1.0.0")).stdout.startswith("passed: ")


def test_a_statement_about_something_else_is_not_put_beside_the_iso(
    iso: Path, tmp_path: Path
) -> None:
    done = call("sbom", "vex", iso, statement(tmp_path, "pkg:golang/stdlib@1.0.0"), code=3)
    assert "is not in the bill" in errors(done)[0]
    assert not iso.with_suffix(".vex.json").exists()


def test_a_list_about_another_iso_is_told(iso: Path, tmp_path: Path) -> None:
    report = tmp_path / "grype.json"
    match = {
        "vulnerability": {"id": "CVE-1", "severity": "High"},
        "artifact": {"name": "x", "version": "1", "purl": "pkg:deb/debian/x@1"},
    }
    report.write_text(json.dumps({"matches": [match]}))
    done = call("sbom", "gate", iso, "--list", report)
    assert "1 finding of 1 name nothing" in done.stderr


def test_a_day_that_is_none_is_refused(iso: Path, tmp_path: Path) -> None:
    asked = ("sbom", "gate", iso, "--list", osv(tmp_path, "1.0"), "--at", "soon")
    assert "expected a day" in errors(call(*asked, code=2))[0]
