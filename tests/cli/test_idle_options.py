"""An option that would do nothing in a call is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import call, errors


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("build r.yaml --key key.pem", "--key and --builder go with --sign"),
        ("build r.yaml --builder https://a.example", "--key and --builder go with --sign"),
        ("verify k.iso --containerd key.pem", "--containerd goes with --deep"),
        ("upstream propose 1.37 --lock", "--lock is for what --output writes"),
        ("upstream check --json --markdown", "--markdown and --json contradict each other"),
        ("site ledger k.iso --site x --qr --json", "--qr and --json contradict each other"),
        ("site ledger k.iso --site x --key key.pem", "--key goes with --sign"),
        ("site export k.lock.json --out - --json", "--json and --out - contradict each other"),
        ("sbom diff k.iso k.iso --json --markdown", "--markdown and --json contradict"),
        ("matrix --format gitlab --json", "--json and --format gitlab contradict each other"),
        (
            "upstream schedule --format systemd --image a/b:1",
            "--image is for --format kubernetes, not systemd",
        ),
        (
            "upstream schedule --format kubernetes --install x==1",
            "--install is for --format github or gitlab or containerfile, not kubernetes",
        ),
        (
            "upstream schedule --format github --program /x/y",
            "--program is for --format systemd, not github",
        ),
        ("matrix --image a/b:1", "--image is for --format kubernetes, not table"),
        (
            "matrix --format github --out x",
            "--out is for --format gitlab or kubernetes, not github",
        ),
        (
            "matrix --format kubernetes --image a/b:1 --install x==1",
            "--install is for --format gitlab, not kubernetes",
        ),
        ("matrix --json status x", "options follow the command: main matrix status --json"),
        ("matrix --arch arm64 status x", "main matrix status --arch"),
        ("matrix --format table status x", "--format is for main matrix by itself"),
        ("matrix --out zz -v status x", "--out is for main matrix by itself, not for status"),
        ("matrix --image a/b:1 status x", "--image is for main matrix by itself"),
        ("matrix --install x==1 status x", "--install is for main matrix by itself"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    words: str, fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("k.iso", "key.pem", "r.yaml"):
        Path(name).touch()
    done = call(*words.split(), "--offline", code=2)
    assert fact in errors(done)[-1]


def test_a_key_of_every_call_may_be_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.touch()
    monkeypatch.setenv("ISOBUILDER_SIGNING_KEY", str(tmp_path / "key.pem"))
    call("build", recipe, "--offline", code=3)


def test_common_options_may_stand_before_the_command_of_a_group_with_options_of_its_own(
    tmp_path: Path,
) -> None:
    call("matrix", "-v", "--offline", "status", tmp_path, "--arch", "amd64")
