"""How the lab finds the machine's Debian mirror."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.lab.debian import host_sources, mirrors
from tools.lab.place import LabError


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ISOBUILDER_LAB_MIRROR", raising=False)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "keyring.gpg").write_bytes(b"")
    return tmp_path


def test_the_mirror_is_found_in_the_one_line_style(etc: Path) -> None:
    (etc / "sources.list").write_text(
        "# deb http://commented.example/debian bookworm main\n"
        "deb https://other.example/apt nodistro main\n"
        "deb https://cloud.example/apt cloud-sdk-bookworm main\n"
        "deb-src http://source.example/debian bookworm main\n"
        "deb http://security.example/debian-security bookworm-security main\n"
        f"deb [arch=amd64 signed-by={etc}/keyring.gpg] http://one.example/debian bookworm main\n"
    )
    found = mirrors(host_sources(etc))
    assert found.archive == "http://one.example/debian"
    assert found.security == "http://security.example/debian-security"
    assert found.signed_by == f"{etc}/keyring.gpg"


def test_the_mirror_is_found_in_the_deb822_style(etc: Path) -> None:
    (etc / "sources.list.d/debian.sources").write_text(
        "Types: deb\n"
        "URIs: http://off.example/debian\n"
        "Suites: bookworm\n"
        "Components: main\n"
        "Enabled: no\n"
        "\n"
        "Types: deb deb-src\n"
        "# a comment inside of a stanza\n"
        "URIs: http://two.example/debian\n"
        "Suites: trixie trixie-updates\n"
        "Components: main contrib\n"
        f"Signed-By: {etc}/keyring.gpg\n"
        "\n"
        "Types: deb\n"
        "URIs: http://two.example/debian-security\n"
        "Suites: trixie-security\n"
        "Components: main\n"
    )
    found = mirrors(host_sources(etc))
    assert found.archive == "http://two.example/debian"
    assert found.security == "http://two.example/debian-security"


def test_a_machine_without_a_debian_mirror_is_told_how_to_name_one(etc: Path) -> None:
    (etc / "sources.list").write_text("deb http://archive.example/ubuntu noble main\n")
    with pytest.raises(LabError, match="set ISOBUILDER_LAB_MIRROR"):
        mirrors(host_sources(etc))


def test_a_named_mirror_wins_over_the_machines_own(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = etc / "keyring.gpg"
    monkeypatch.setattr("tools.lab.debian.KEYRING", keyring)
    monkeypatch.setenv("ISOBUILDER_LAB_MIRROR", "http://named.example/debian")
    (etc / "sources.list").write_text("deb http://one.example/debian bookworm main\n")
    found = mirrors(host_sources(etc))
    assert (found.archive, found.security) == ("http://named.example/debian", None)
    assert found.signed_by == str(keyring)
