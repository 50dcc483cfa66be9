from __future__ import annotations

import gzip
from collections.abc import Mapping

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.package import MAX_DATABASE
from isobuilder.trust.bill import look
from isobuilder.trust.bill.look import LayerContents, look_into
from isobuilder.trust.bill.merge import Root, merged
from tests.fakes.elf import program
from tests.fakes.packages import DEP5, INSTALLED, OS_RELEASE, STATUS, layer_of

GO = program(lines=("path\tx/cmd/y", "mod\texample.com/x\tv1.0.0", "dep\tgolang.org/x/net\tv0.1.0"))
OLD_GO = program(form="pointer", sections=False, lines=("path\tx", "mod\texample.com/old\tv0.9.0"))

Files = Mapping[str, bytes | str | None]


def layer(files: Files) -> LayerContents:
    data = layer_of(files)
    return look_into(lambda: [data])


def root(*layers: Files) -> Root:
    return merged(layer(files) for files in layers)


def names(found: Root) -> set[str]:
    return {package.name for one in found.found.values() for package in one.packages}


def test_databases_are_found_where_systems_have_them() -> None:
    found = root(
        {
            "var/lib/dpkg/status": STATUS,
            "./usr/lib/apk/db/installed": INSTALLED,
            "var/lib/dpkg/status.d/tzdata": b"Package: tzdata\nVersion: 2025b\n",
            "var/lib/dpkg/status.d/tzdata.md5sums": b"0123  usr/share/zoneinfo\n",
            "app/node_modules/left-pad/package.json": b'{"name": "left-pad", "version": "1.3.0"}',
            "usr/lib/python3/site-packages/six.dist-info/METADATA": b"Name: six\nVersion: 1.17\n",
            "usr/lib/python3/dist-packages/old.egg-info": b"Name: old\nVersion: 1\n",
            "home/user/status": b"no database",
        }
    )
    assert names(found) == {
        "libssl3t64", "bash", "musl", "ssl_client", "tzdata", "left-pad", "six", "old"
    }  # fmt: skip


@pytest.mark.parametrize("binary", [GO, OLD_GO], ids=["inline", "pointers"])
def test_a_go_program_is_found_under_any_name(binary: bytes) -> None:
    found = root({"opt/anything": binary, "opt/script": b"#!/bin/sh\n" * 10})
    assert {"example.com/x", "example.com/old"} & names(found)
    assert "stdlib" in names(found)


@pytest.mark.parametrize(
    "above",
    [
        {"var/lib/dpkg/.wh.status": b""},
        {"var/.wh.lib": b""},
        {"var/lib/.wh..wh..opq": b""},
        {"var/lib/dpkg/status": b""},
        {"var/lib": "/elsewhere"},
        {"var": b"a file in the place of a folder"},
        {".wh..wh..opq": b""},
    ],
    ids=lambda files: next(iter(files)),
)
def test_what_a_later_layer_hides_is_not_there(above: Files) -> None:
    assert names(root({"var/lib/dpkg/status": STATUS}, above)) == set()


def test_a_later_layer_hides_nothing_of_itself_and_nothing_beside() -> None:
    found = root(
        {"var/lib/dpkg/status": STATUS},
        {"var/.wh.lib": b"", "var/lib/apk/db/installed": INSTALLED},
    )
    assert names(found) == {"musl", "ssl_client"}
    found = root({"var/lib/dpkg/status": STATUS}, {"var/li/.wh..wh..opq": b"", ".wh.va": b""})
    assert "bash" in names(found)


def test_a_program_replaced_by_a_script_is_not_there() -> None:
    assert names(root({"bin/tool": GO}, {"bin/tool": b"#!/bin/sh\nexit 1\n# and more\n"})) == set()


def test_a_layer_may_reach_a_folder_by_a_link_of_a_lower_one() -> None:
    below: Files = {"usr/lib/": None, "lib": "usr/lib", "usr/lib/apk/db/installed": INSTALLED}
    found = root(below, {"lib/apk/db/installed": INSTALLED.replace(b"P:musl", b"P:new")})
    assert names(found) == {"new", "ssl_client"}
    assert names(root(below, {"lib/apk/db/.wh.installed": b""})) == set()


def test_a_folder_in_the_place_of_a_link_begins_empty() -> None:
    below: Files = {"lib": "usr/lib", "usr/lib/apk/db/installed": INSTALLED}
    found = root(below, {"lib/": None, "lib/apk/db/installed": INSTALLED})
    assert set(found.found) == {"usr/lib/apk/db/installed", "lib/apk/db/installed"}


@pytest.mark.parametrize(
    "files",
    [
        {"etc/os-release": OS_RELEASE},
        {"usr/lib/os-release": OS_RELEASE},
        {"usr/lib/os-release": OS_RELEASE, "etc/os-release": "../usr/lib/os-release"},
        {"usr/lib/os-release": OS_RELEASE, "etc/os-release": "=usr/lib/os-release"},
        {"somewhere/else": OS_RELEASE, "etc/os-release": "=somewhere/else"},
        {"usr/lib/os-release.d/a": OS_RELEASE, "etc/os-release": "/usr/lib/os-release.d/a"},
    ],
    ids=["etc", "usr", "symbolic", "hard", "hard to another name", "folder"],
)
def test_the_operating_system_is_told_whatever_leads_to_its_file(files: Files) -> None:
    assert root(files).system["VERSION_ID"] == "13"


def test_links_in_a_circle_lead_nowhere() -> None:
    found = root({"etc": "etc", "a": "b", "b": "a", "etc/os-release": "os-release"})
    assert found.system == {}


def test_a_hard_link_to_a_lower_layer_keeps_what_is_removed_there() -> None:
    found = root({"bin/a": GO}, {"bin/b": "=bin/a"}, {"bin/.wh.a": b""})
    assert set(found.found) == {"bin/b"}


def test_licences_of_a_package_may_lie_behind_a_link_of_its_documentation() -> None:
    found = root({"usr/share/doc/a/copyright": DEP5, "usr/share/doc/b": "a"})
    assert found.licences_of("b") == ("Apache-2.0", "GPL-2+")


def test_a_damaged_database_is_told_and_the_rest_is_read() -> None:
    found = layer({"var/lib/dpkg/status": b"\0" * 4000, "lib/apk/db/installed": INSTALLED})
    assert found.trouble == [
        ("var/lib/dpkg/status", "not a list of packages: paragraph 1 has no Package")
    ]
    assert len(found.found) == 1


def test_an_enormous_database_is_not_read() -> None:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("var/lib/dpkg/status")
        info.size = MAX_DATABASE + 1

        class Zeros(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                return bytes(size)

        tar.addfile(info, Zeros())
    data = buffer.getvalue()
    (told,) = look_into(lambda: [data]).trouble
    assert "expected at most" in told[1]


def test_a_layer_that_is_none_is_refused() -> None:
    with pytest.raises(IntegrityError, match="not a tar header"):
        look_into(lambda: [b"x" * 1024])
    cut = layer_of({"var/lib/dpkg/status": STATUS})[:700]
    with pytest.raises(IntegrityError, match="cut off"):
        look_into(lambda: [cut])


def test_more_packages_than_an_image_can_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "MAX_FOUND", 3)
    with pytest.raises(IntegrityError, match="more than 3 packages"):
        layer({"var/lib/dpkg/status": STATUS, "lib/apk/db/installed": INSTALLED})


def test_names_that_leave_the_layer_are_passed_over() -> None:
    found = layer({"../../etc/os-release": OS_RELEASE, "/etc/os-release": OS_RELEASE})
    assert list(found.found) == ["etc/os-release"]


def test_a_program_cut_off_or_strange_tells_nothing() -> None:
    found = layer({"a": GO[:100], "b": b"\x7fELF" + bytes(100), "c": GO[:-40]})
    assert names(merged([found])) <= {"example.com/x", "golang.org/x/net", "stdlib"}


def test_gzip_is_not_looked_into_twice() -> None:
    assert layer({"a.tar.gz": gzip.compress(layer_of({"etc/os-release": OS_RELEASE}))}).found == {}
