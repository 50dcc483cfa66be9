"""No command writes over what it is to read, unless it is asked to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isobuilder.cli.outputs import refuse_same
from tests.cli.calling import call, errors, hints


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("sign k.iso --key key.pem --out key.pem", "--out would replace what --key names"),
        ("sign k.iso --key key.pem --out k.iso", "--out would replace what ISO names"),
        ("report k.iso -o k.iso", "--out would replace what ISO|LOCK|VERSION names"),
        ("report k.json -o ./k.json", "--out would replace"),
        ("sbom write k.iso -o linked.iso", "--out would replace"),
        ("sbom write k.json -o k.json", "--out would replace"),
        ("lock r.yaml --arch amd64 -o r.yaml", "--output would replace"),
        ("build r.yaml --metrics r.yaml", "--metrics would replace"),
        ("build k.json r.yaml --metrics r.yaml", "--metrics would replace"),
        ("build r.yaml --force --metrics k.iso", "--metrics: k.iso is called like an ISO"),
        ("upstream sync r.yaml --report r.yaml", "--report would replace"),
        ("upstream sync r.yaml --report a --mail a", "--report would replace what --mail names"),
        ("upstream sync r.yaml --mail a --metrics b/../a", "would replace what --m"),
        ("boot k.iso --data k.iso", "--data would replace what ISO names"),
        ("node kubeconfig r.yaml --out r.yaml", "--out would replace what FILE names"),
        ("node kubeconfig r.yaml --out nodes/secrets/ca.key", "is in nodes/secrets"),
        ("node seed nodes/one --out nodes/one/user-data", "--out would replace what FOLDER names"),
    ],
)
def test_an_output_that_is_an_input_is_refused_and_nothing_is_written(
    words: str, fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("k.iso", "k.json", "key.pem", "r.yaml", "nodes/secrets/ca.key"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("nodes/one").mkdir()
    Path("nodes/one/user-data").write_text("nodes/one/user-data")
    Path("b").mkdir()
    os.link("k.iso", "linked.iso")
    before = contents()
    done = call(*words.split(), code=2)
    assert fact in errors(done)[-1]
    assert "name" in hints(done)[-1]
    assert contents() == before


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def test_an_output_may_be_what_is_no_file_and_what_is_only_named_alike(tmp_path: Path) -> None:
    file = tmp_path / "a"
    refuse_same("--mail", Path("/dev/null"), "--report", [Path("/dev/null")])
    refuse_same("--mail", file, "--report", [tmp_path / "b"])
    file.touch()
    refuse_same("--mail", file, "--report", [tmp_path / "b"])
    (tmp_path / "one").mkdir()
    refuse_same("--out", tmp_path / "one" / "seed.iso", "FOLDER", [tmp_path / "one"])
