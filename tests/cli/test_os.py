from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.calling import call, errors, hints


@pytest.mark.parametrize(
    "value",
    ["", "mirror.example", "https://", "http://a b", "ftp://a/debian", "-x"],
)
def test_what_is_no_address_of_a_mirror_is_refused_at_once(value: str) -> None:
    done = call("os", "build", f"--mirror={value}", code=2)
    assert errors(done) == [
        f"error: --mirror: expected the address of a Debian archive, got {value!r}"
    ]


def test_a_password_for_a_mirror_is_not_repeated() -> None:
    done = call("os", "build", "--mirror", "ftp://user:secret@mirror.example/debian", code=2)
    assert "secret" not in done.output


@pytest.mark.parametrize("option", ["--mirror", "--security-mirror"])
def test_a_password_for_a_mirror_does_not_get_into_the_list_of_processes(option: str) -> None:
    mirror = ["--mirror", "https://a.example"] if option != "--mirror" else []
    value = "https://user:secret@mirror.example/debian"
    done = call("os", "build", *mirror, option, value, code=2)
    assert errors(done)[0].startswith(f"error: {option}: a login")
    assert "secret" not in done.output


def test_a_second_mirror_needs_the_first() -> None:
    done = call("os", "build", "--security-mirror", "https://a.example/debian", code=2)
    assert "go with --mirror" in errors(done)[0]


def test_a_suite_that_nobody_proved_is_refused_with_those_that_are_known() -> None:
    done = call("os", "build", "--suite", "bookworm", code=2)
    assert hints(done) == ["hint: known suites: trixie"]


def test_a_missing_program_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("isobuilder.run._search_path", lambda: str(tmp_path))
    done = call("os", "build", "--mirror", "https://mirror.example/debian", code=6)
    assert "mmdebstrap: not installed" in errors(done)[0]
    assert "apt-get install mmdebstrap" in hints(done)[0]
