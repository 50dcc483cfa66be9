"""The other forms of a bill: SPDX, and what differs between two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from isobuilder.errors import InputError
from isobuilder.formats.packages.package import Package
from isobuilder.trust.bill.compare import as_markdown, compared
from isobuilder.trust.bill.purl import parse_purl
from isobuilder.trust.bill.spdx import as_spdx
from tests.trust.bill.bills import PACKAGES, bill_of, image_part

GOLDEN = Path(__file__).parents[2] / "golden" / "spdx"


def test_spdx_has_every_part_and_what_contains_it() -> None:
    bill = bill_of()
    document = json.loads(as_spdx(bill))
    assert len(document["packages"]) == 1 + len(list(bill.walk()))
    by_id = {one["SPDXID"]: one for one in document["packages"]}
    assert len(by_id) == len(document["packages"])
    contained = {
        (by_id[one["spdxElementId"]]["name"], by_id[one["relatedSpdxElement"]]["name"])
        for one in document["relationships"]
        if one["relationshipType"] == "CONTAINS"
    }
    assert ("registry.k8s.io/etcd", "libssl3t64") in contained
    assert ("kubernetes-mold-cks-amd64", "registry.k8s.io/etcd") in contained


def test_spdx_follows_the_published_schema() -> None:
    """That of SPDX 2.3, from https://github.com/spdx/spdx-spec, schemas/spdx-schema.json."""
    schema = json.loads((GOLDEN / "spdx-schema-2.3.json").read_text())
    validator = Draft7Validator(schema)
    document = json.loads(as_spdx(bill_of()))
    assert [error.message for error in validator.iter_errors(document)] == []
    del document["packages"][0]["downloadLocation"]
    assert [error.message for error in validator.iter_errors(document)] != []


def test_a_licence_is_an_identifier_of_spdx_or_the_text_that_was_stated() -> None:
    document = json.loads(as_spdx(bill_of()))
    (package,) = (one for one in document["packages"] if one["name"] == "@a/b")
    (told,) = document["hasExtractedLicensingInfos"]
    assert package["licenseDeclared"] == f"MIT AND {told['licenseId']}"
    assert told["extractedText"] == "whatever the author likes"


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("MIT OR Apache-2.0", True),
        ("(MIT AND ISC)", True),
        ("MIT OR", False),
        ("(MIT", False),
        ("MIT ISC", False),
        ("GPL", False),
        ("", False),
    ],
)
def test_an_expression_is_one_only_if_all_of_it_is(text: str, known: bool) -> None:
    part = image_part(packages=(Package("npm", "a", "1", licences=(text or " ",)),))
    document = json.loads(as_spdx(bill_of(part)))
    assert ("hasExtractedLicensingInfos" not in document) == known


def test_the_same_bill_gives_the_same_bytes_as_spdx() -> None:
    assert as_spdx(bill_of()) == as_spdx(bill_of())


def test_changes_are_told_for_each_image() -> None:
    old = bill_of(image_part(), image_part("registry.k8s.io/gone"))
    packages = (
        Package("deb", "libssl3t64", "3.5.2-1", "amd64", "openssl"),
        *PACKAGES[1:4],
        Package("golang", "example.com/new", "v1.0.0"),
        Package("golang", "golang.org/x/net", "v0.31.0"),
    )
    new = bill_of(image_part(packages=packages))
    told = {(one.owner, one.name): (one.change, one.left, one.right) for one in compared(old, new)}
    etcd = "registry.k8s.io/etcd"
    assert told[etcd, "debian/libssl3t64"] == ("changed", ("3.5.1-1",), ("3.5.2-1",))
    assert told[etcd, "golang.org/x/net"] == ("changed", ("v0.30.0",), ("v0.30.0", "v0.31.0"))
    assert told[etcd, "example.com/new"] == ("added", (), ("v1.0.0",))
    assert told[etcd, "@a/b"] == ("removed", ("1.0.0",), ())
    assert told["", "registry.k8s.io/gone"] == ("removed", ("3.6.5",), ())
    assert (etcd, "stdlib") not in told
    assert compared(new, new) == ()


def test_markdown_shows_names_and_acts_on_none() -> None:
    bad = Package("golang", "a|b<script>", "v1")
    text = as_markdown(
        compared(bill_of(image_part(packages=())), bill_of(image_part(packages=(bad,))))
    )
    assert r"a\|b\<script\>" in text
    assert "## registry.k8s.io/etcd" in text


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("pkg:npm/%40a/b@1.0.0", ("npm", "@a/b", "1.0.0")),
        ("pkg:npm/@a/b", ("npm", "@a/b", "")),
        ("pkg:golang/github.com/a/b/v2@v2.0.1", ("golang", "github.com/a/b/v2", "v2.0.1")),
        ("pkg:oci/pause@sha256%3Aabc?arch=amd64#x", ("oci", "pause", "sha256:abc")),
        ("pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-13", ("deb", "debian/bash", "5.2")),
    ],
)
def test_a_package_url_is_taken_apart(text: str, exact: tuple[str, str, str]) -> None:
    assert parse_purl(text).exact == exact


@pytest.mark.parametrize("text", ["", "pkg:", "npm/a@1", "pkg:npm", "pkg:npm/", "https://x/y@1"])
def test_what_is_no_package_url_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a package URL"):
        parse_purl(text)
