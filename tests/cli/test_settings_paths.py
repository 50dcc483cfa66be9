"""Paths of settings that can be none: a user that nobody is, a name that no file has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import call

PATHS = ["~nobody-of-this-name/x", "a\0b"]
KEYS = {"ISOBUILDER_MOLD_API_KEY": "k", "ISOBUILDER_MOLD_SECRET_KEY": "s"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("setting", "command"),
    [
        ("store", ("store", "list")),
        ("rules", ("upstream", "rules")),
        ("policies", ("trust", "show")),
        ("key_file", ("mold", "zones", "--server", "lab")),
        ("ca_file", ("mold", "zones", "--server", "lab")),
    ],
)
def test_a_path_of_the_settings_that_can_be_none_is_refused(
    tmp_path: Path, setting: str, command: tuple[str, ...], path: str
) -> None:
    lab = {"endpoint": "https://mold.example/client/api"}
    settings: dict[str, object] = {"mold": {"lab": lab}, setting: path}
    if setting in {"key_file", "ca_file"}:
        settings = {"mold": {"lab": {**lab, setting: path}}}
    file = tmp_path / "config.yaml"
    keys = {} if setting == "key_file" else KEYS
    file.write_text(json.dumps(settings))
    done = call(*command, "--config", file, code=3, env=keys)
    assert "no home folder is known" in done.stderr or "a NUL character" in done.stderr
