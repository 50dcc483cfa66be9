"""What the author of a recipe is told when it is none, by every command that reads one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from isobuilder.demo.content import write_recipes
from tests.cli.calling import call, errors, hints

LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"


def read_by_every_command(recipe: Path) -> list[str]:
    """Return the errors that check, build and lock agree on; nothing is written."""
    before = sorted(path.name for path in recipe.parent.iterdir())
    said = [
        errors(call(*command, recipe, code=3))
        for command in (("recipe", "check"), ("lock",), ("build", "--out", recipe.parent / "out"))
    ]
    assert said[0] == said[1] == said[2]
    assert sorted(path.name for path in recipe.parent.iterdir()) == before
    return said[0]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('schema: 1\n\tkubernetes: "1.34.12"\n', "r.yaml:2:1: a tab where YAML wants spaces"),
        (LAUGHS, "r.yaml:1:4: a: an anchor; they are not used here"),
        ("schema: 1\nschema: 1\n", "r.yaml:2:1: the key 'schema' is there twice, first in line 1"),
        ("[" * 5000, "r.yaml:1:"),
        ("- just\n- a list\n", "r.yaml:1:1: "),
        ("", "r.yaml"),
        ("{a: b", "r.yaml:"),
        ("a: !!python/object:os.system x\n", "r.yaml:1:4: "),
        ("a: 1\n---\nb: 2\n", "r.yaml:3:1: a second document"),
    ],
    ids=[
        *(
            "tab",
            "aliases",
            "twice",
            "nested",
            "list",
            "empty",
            "broken",
            "python",
            "two documents",
        ),
    ],
)
def test_yaml_that_is_no_recipe_is_refused_with_its_place(
    tmp_path: Path, content: str, error: str
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(content)
    assert error in read_by_every_command(recipe)[0]


def test_a_version_that_is_a_number_is_explained(tmp_path: Path) -> None:
    recipe, _ = write_recipes(tmp_path)
    text = recipe.read_text()
    recipe.write_text(re.sub(r'kubernetes: "1.34.12"', "kubernetes: 1.30", text))
    (error,) = read_by_every_command(recipe)
    assert error.endswith(": kubernetes: 1.30 is read as a number, expected text")
    assert hints(call("recipe", "check", recipe, code=3)) == ['hint: write "1.30.0"']


def test_a_file_of_50_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    with recipe.open("wb") as file:
        file.truncate(50_000_000)
    (error,) = read_by_every_command(recipe)
    assert error == f"error: {recipe}: expected at most 4 MiB, got 50000000 bytes"


def test_a_device_without_end_is_refused() -> None:
    for command in (("recipe", "check"), ("build",)):
        done = call(*command, "/dev/zero", code=3)
        assert errors(done) == ["error: /dev/zero: expected at most 4 MiB, got no end"]


def test_a_pipe_in_the_place_of_a_recipe_or_its_lock_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "r.yaml")
    assert read_by_every_command(pipe) == [f"error: {pipe}: is no file"]
    recipe, _ = write_recipes(tmp_path)
    os.mkfifo(lock := recipe.with_suffix(".amd64.lock.json"))
    for command in (("recipe", "check"), ("build", "--arch", "amd64")):
        assert f"{lock}: is no file" in errors(call(*command, recipe, code=3))[0]
    done = call("lock", recipe, "--arch", "amd64", "--offline", code=3)
    assert errors(done) == [f"error: {lock}: is there, and is no file"]


@pytest.mark.parametrize("pipe", ['"$@" <(sleep 0.2; cat "$0")', 'cat "$0" | "$@" /dev/stdin'])
def test_a_recipe_from_a_pipe_that_a_shell_made_is_read(pipe: str, tmp_path: Path) -> None:
    recipe, _ = write_recipes(tmp_path)
    words = [sys.executable, "-m", "isobuilder", "recipe", "check"]
    words = ["bash", "-c", pipe, str(recipe), *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert re.search(r"good: /dev/(fd/\d+|stdin) \(amd64, arm64\)", done.stdout), done
    recipe.write_text("schema: 2")
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    assert re.search(r"error: /dev/(fd/\d+|stdin):1:9: schema: ", said), said


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    recipe, _ = write_recipes(tmp_path)
    text = recipe.read_text().replace("profile: ", "profil: ", 1)
    recipe.write_text(text.replace("path: k8s/kubeadm", "path: ../k8s/kubeadm"))
    told = read_by_every_command(recipe)
    assert len(told) >= 3
    assert any("unknown key 'profil'" in line for line in told)
    assert any("../k8s/kubeadm" in line for line in told)
