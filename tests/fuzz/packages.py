"""Targets that tell what is installed, and what is known against it."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.alpine import read_installed
from isobuilder.formats.packages.debian import read_copyright, read_status
from isobuilder.formats.packages.golang import read_modules
from isobuilder.formats.packages.node import read_package
from isobuilder.formats.packages.order import compare
from isobuilder.formats.packages.package import Package
from isobuilder.formats.packages.python import read_metadata
from isobuilder.formats.packages.rpmdb import read_rpmdb
from isobuilder.trust.bill.advisories import apply_list
from isobuilder.trust.bill.look import look_into
from isobuilder.trust.bill.merge import merged
from isobuilder.trust.bill.model import read_bill
from isobuilder.trust.bill.parts import parts_inside
from isobuilder.trust.bill.purl import parse_purl
from isobuilder.trust.bill.spdx import as_spdx
from isobuilder.trust.bill.vex import read_vex
from tests.fakes.elf import program
from tests.fakes.packages import (
    DEP5,
    INSTALLED,
    OS_RELEASE,
    STATUS,
    layer_of,
    rpm_berkeley,
    rpm_header,
    rpm_ndb,
    rpm_sqlite,
)
from tests.fuzz.samples import Samples
from tests.fuzz.shapes import edited_tar
from tests.fuzz.target import Rig, Target, Wrong, of_bytes, of_json, of_text, put
from tests.trust.bill.bills import bill_of

NOW = datetime(2026, 11, 28, tzinfo=UTC)
METADATA = (
    b"Name: six\nVersion: 1.17\nLicense: MIT\nClassifier: License :: OSI Approved :: X\n\nbody\n"
)
NODE = b'{"name": "@a/b", "version": "1.0.0-rc.1", "licenses": [{"type": "MIT"}]}'
MODULES = b"mod\tx\t(devel)\ndep\ta\tv1.0.0\th1:x=\n=>\tb\tv1.0.1\nbuild\tvcs.revision=ab\n"
HEADERS = [rpm_header("bash", "5.1.8", "9.el9", epoch=0), rpm_header("tzdata", "2025b", "1")]
OSV = {
    "id": "GO-1",
    "aliases": ["CVE-1"],
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"}],
    "affected": [
        {
            "package": {"ecosystem": "Go", "name": "golang.org/x/net"},
            "ranges": [
                {"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "0.31.0-rc.1"}]}
            ],
            "versions": ["0.30.0"],
        }
    ],
}
GRYPE = {
    "matches": [
        {
            "vulnerability": {"id": "CVE-1", "severity": "High", "fix": {"versions": ["1"]}},
            "artifact": {
                "name": "a",
                "version": "1",
                "purl": "pkg:golang/golang.org/x/net@v0.30.0",
            },
        }
    ]
}
VEX = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "@id": "https://example.com/1",
    "author": "a",
    "timestamp": "2026-01-01T00:00:00Z",
    "version": 1,
    "statements": [
        {
            "vulnerability": {"name": "CVE-1"},
            "products": [{"@id": "pkg:golang/golang.org/x/net@v0.30.0"}],
            "status": "not_affected",
            "justification": "component_not_present",
        }
    ],
}


def _texts(_samples: Samples, _stack: ExitStack) -> Rig:
    readers = (read_status, read_installed, read_copyright, read_metadata, read_package)

    def read(data: bytes, _folder: Path) -> object:
        found: list[Package] = read_modules("go1.24.6", data.decode("utf-8", "replace"))
        for reader in readers:
            with contextlib.suppress(IntegrityError):
                told = reader(data)
                found += [one for one in (told if isinstance(told, list) else [told])
                          if isinstance(one, Package)]  # fmt: skip
        for one, other in pairwise(found):
            forth = compare(one.kind, one.version, other.version)
            back = compare(one.kind, other.version, one.version)
            if (forth is None) != (back is None) or (forth or 0) * (back or 0) > 0:
                raise Wrong(f"{one.version!r} and {other.version!r} are each before the other")
        return found

    return of_text([STATUS, INSTALLED, DEP5, METADATA, NODE, MODULES], read)


def _rpm(samples: Samples, _stack: ExitStack) -> Rig:
    file = samples.folder / "rpmdb.sqlite"
    if not file.exists():
        rpm_sqlite(file, HEADERS)
    databases = [file.read_bytes(), rpm_ndb(HEADERS), rpm_berkeley(HEADERS)]
    return of_bytes(databases, lambda data, folder: read_rpmdb(put(folder, "Packages", data)))


def _layer(_samples: Samples, _stack: ExitStack) -> Rig:
    go = program(form="pointer", lines=("mod\tx\tv1.0.0", "dep\ty\tv1"))
    layers = [
        layer_of({"etc/os-release": OS_RELEASE, "var/lib/dpkg/status": STATUS, "bin/x": go}),
        layer_of({"lib": "usr/lib", "usr/lib/apk/db/installed": INSTALLED, "bin/y": "=bin/x"}),
        layer_of({"var/.wh.lib": b"", "lib/.wh..wh..opq": b"", "etc": "etc", "bin/": None}),
    ]
    below = look_into(lambda: [layers[0]])

    def read(data: bytes, _folder: Path) -> object:
        layer = look_into(lambda: [data])
        return parts_inside("image", merged([below, layer])), merged([layer, below]).system

    return Rig(lambda chance: edited_tar(chance.choice(layers), chance), read)


def _known(_samples: Samples, _stack: ExitStack) -> Rig:
    bill = bill_of()

    def read(data: bytes, _folder: Path) -> object:
        if b"openvex" in data:
            return read_vex(data, "x.vex.json", bill, NOW)
        return apply_list(data, "osv.json", bill)

    return of_json([OSV, [OSV, OSV], GRYPE, VEX], read)


def _zipped(_samples: Samples, _stack: ExitStack) -> Rig:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"GO-{number}.json", json.dumps(OSV))
    bill = bill_of()
    return of_bytes([made.getvalue()], lambda data, _: apply_list(data, "all.zip", bill))


def _bill(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, _folder: Path) -> object:
        bill = read_bill(data, "x.cdx.json")
        if read_bill(bill.to_bytes(), "again") != bill:
            raise Wrong("a bill that is another one when it is written and read")
        for _, part in bill.walk():
            parse_purl(part.purl or "pkg:generic/x@1")
        return as_spdx(bill)

    return of_json([json.loads(bill_of().to_bytes())], read)


_READERS = ("alpine", "debian", "golang", "node", "order", "package", "python")
PACKAGES = (
    Target("packages", tuple(f"formats/packages/{name}.py" for name in _READERS), _texts),
    Target("rpmdb", ("formats/packages/rpm.py", "formats/packages/rpmdb.py"), _rpm),
    Target("layer", ("trust/bill/look.py", "trust/bill/merge.py"), _layer),
    Target("vulnerabilities", ("trust/bill/advisories.py", "trust/bill/vex.py"), _known),
    Target("zip", ("formats/zipped.py",), _zipped),
    Target("bill", ("trust/bill/model.py", "trust/bill/purl.py"), _bill),
)
