from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages import package
from isobuilder.formats.packages.alpine import read_installed
from isobuilder.formats.packages.debian import read_copyright, read_status
from isobuilder.formats.packages.rpm import read_header
from isobuilder.formats.packages.rpmdb import read_rpmdb
from tests.fakes.packages import (
    DEP5,
    INSTALLED,
    STATUS,
    rpm_berkeley,
    rpm_header,
    rpm_ndb,
    rpm_sqlite,
)

BASH = rpm_header("bash", "5.1.8", "9.el9", epoch=0)
OPENSSL = rpm_header("openssl-libs", "3.0.7", "27.el9", epoch=1)


def test_dpkg_tells_what_is_installed_and_what_it_was_built_from() -> None:
    ssl, bash = read_status(STATUS)
    assert (ssl.name, ssl.version, ssl.architecture) == ("libssl3t64", "3.5.1-1", "amd64")
    assert (ssl.source, ssl.source_version) == ("openssl", "")
    assert (bash.source, bash.source_version) == ("bash", "5.2.37-2")


def test_a_package_of_a_distroless_image_has_no_state() -> None:
    (found,) = read_status(b"Package: base-files\nVersion: 13.8\nArchitecture: amd64\n")
    assert found.name == "base-files"


def test_apk_tells_packages_and_not_their_files() -> None:
    musl, client = read_installed(INSTALLED)
    assert (musl.name, musl.version, musl.licences, musl.source) == (
        "musl",
        "1.2.5-r0",
        ("MIT",),
        "",
    )
    assert client.source == "busybox"


def test_licences_are_those_of_the_fields_or_of_the_texts_that_are_referred_to() -> None:
    assert read_copyright(DEP5) == ("Apache-2.0", "GPL-2+")
    assert read_copyright(b"see `/usr/share/common-licenses/GPL-3'.\n") == ("GPL-3",)
    assert read_copyright(b"all yours\n") == ()


def in_file(make: Callable[[], bytes]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(make())
        return path

    return write


FORMS: dict[str, Callable[[Path], Path]] = {
    "sqlite": lambda path: rpm_sqlite(path, [BASH, OPENSSL]),
    "ndb": in_file(lambda: rpm_ndb([BASH, OPENSSL])),
    "berkeley": in_file(lambda: rpm_berkeley([BASH, OPENSSL])),
    "berkeley of the other byte order": in_file(lambda: rpm_berkeley([BASH, OPENSSL], order=">")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_database_of_rpm_gives_the_same_packages(form: str, tmp_path: Path) -> None:
    bash, openssl = read_rpmdb(FORMS[form](tmp_path / "db"))
    assert (bash.name, bash.version, bash.source) == (
        "bash",
        "5.1.8-9.el9",
        "bash-5.1.8-9.el9.src.rpm",
    )
    assert openssl.facts == (("epoch", "1"),)
    assert openssl.licences == ("GPLv2+",)


def test_an_empty_database_has_no_packages(tmp_path: Path) -> None:
    (tmp_path / "db").touch()
    assert read_rpmdb(tmp_path / "db") == []


def test_a_key_in_the_database_is_no_package() -> None:
    assert read_header(rpm_header("gpg-pubkey", "8483c65d", "5ccc5b19")) is None


@pytest.mark.parametrize("form", FORMS)
def test_a_database_cut_off_anywhere_is_refused_or_has_fewer_packages(
    form: str, tmp_path: Path
) -> None:
    whole = FORMS[form](tmp_path / "db").read_bytes()
    for end in range(1, len(whole), 97):
        (tmp_path / "cut").write_bytes(whole[:end])
        with contextlib.suppress(IntegrityError):
            assert len(read_rpmdb(tmp_path / "cut")) <= 2


def test_a_query_that_would_run_for_ever_is_not_run(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute(
        "CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT x'00' UNION ALL SELECT blob "
        "FROM n) SELECT blob FROM n"
    )
    connection.commit()
    connection.close()
    with pytest.raises(IntegrityError, match="without the table Packages"):
        read_rpmdb(tmp_path / "db")


def test_pages_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    data = bytearray(rpm_berkeley([BASH]))
    struct.pack_into("<I", data, 512 + 512 - 5 - 12 + 8, 60_000_000)  # bytes of the value
    first = 2 * 512
    struct.pack_into("<I", data, first + 16, 2)  # the page goes on on itself
    struct.pack_into("<H", data, first + 22, 400)
    (tmp_path / "db").write_bytes(data)
    with pytest.raises(IntegrityError):
        read_rpmdb(tmp_path / "db")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x00\x01garbage\n", "paragraph 1 has no Package"),
        (b"Package: a\nStatus: install ok installed\n", "paragraph 1 has no Version"),
    ],
)
def test_what_is_no_list_of_dpkg_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(IntegrityError, match=said):
        read_status(data)


def test_a_million_packages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MAX_PACKAGES", 1000)
    many = b"".join(b"Package: a%d\nVersion: 1\n\n" % number for number in range(1001))
    with pytest.raises(IntegrityError, match="more than 1000 packages"):
        read_status(many)


def test_a_header_that_points_outside_of_itself_is_refused() -> None:
    header = bytearray(BASH)
    struct.pack_into(">I", header, 8 + 16 + 8, 5000)
    with pytest.raises(IntegrityError, match="outside of it"):
        read_header(bytes(header))
    with pytest.raises(IntegrityError, match="entries"):
        read_header(struct.pack(">II", 0xFFFFFFFF, 16) + bytes(32))


def test_names_that_act_on_a_terminal_are_only_shown() -> None:
    (found,) = read_status(b"Package: a\x1b[2Jb\nVersion: 1\n")
    assert found.name == "a\\x1b[2Jb"
