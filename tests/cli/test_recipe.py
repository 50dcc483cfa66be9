from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from isobuilder.cli import main
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.pipeline.recipes import schema_bytes

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
SAMPLE = ROOT / "tests" / "facts" / "kubernetes-1.34.12-amd64.json"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["recipe", *map(str, arguments)])


def good(*arguments: str | Path) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


# --- check ---


def test_all_shipped_recipes_are_good_and_locked() -> None:
    result = good("check", *sorted(RECIPES.glob("*.yaml")))
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert all(line.endswith("(amd64, arm64, locked for amd64)") for line in lines)


def test_a_recipe_whose_parts_cannot_work_together_is_told_and_the_exit_code_is_3(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.yaml"
    text = (RECIPES / "kubernetes-1.36.5.yaml").read_text()
    path.write_text(text.replace("vars:\n", 'vars:\n  containerd: "2.3.2"\n'))
    result = run("check", path)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert f"error: {path}: containerd 2.3.2: cannot start pods" in result.stderr
    assert "hint: mended in 2.3.4" in result.stderr
    found = json.loads(run("check", path, "--json").stdout)[0]["unfit"]
    assert found[0]["rule"] == "known-bad"
    assert found[0]["level"] == "error"


def test_mistakes_of_all_files_are_told_and_the_exit_code_is_3(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    text = (RECIPES / "kubernetes-1.34.12.yaml").read_text()
    one.write_text(text.replace('"1.34.12"', "1.34"))
    two.write_text(text.replace("revision:", "revison:"))
    result = run("check", one, RECIPES / "kubernetes-1.34.2.yaml", two)
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert lines[
        lines.index(f"error: {one}:3:13: kubernetes: 1.34 is read as a number, expected text") :
    ] == [
        f"error: {one}:3:13: kubernetes: 1.34 is read as a number, expected text",
        'hint: write "1.34.0"',
        f"error: {two}:4:1: unknown key 'revison'",
        "hint: did you mean 'revision'?",
    ]
    assert result.stdout.startswith("good: ")


def test_a_lock_in_place_of_a_recipe_is_told_as_such_and_others_are_checked(tmp_path: Path) -> None:
    lock = RECIPES / "kubernetes-1.34.12.amd64.lock.json"
    told = [
        f"error: {lock}: expected a recipe, got a lock",
        "hint: name the recipe that the lock answers",
    ]
    done = run("check", lock, RECIPES / "kubernetes-1.34.2.yaml")
    assert (done.exit_code, done.stderr.splitlines()[-2:]) == (3, told)
    assert done.stdout.startswith("good: ")
    for command in ("show", "check"):
        done = run(command, lock)
        assert (done.exit_code, done.stderr.splitlines()) == (3, told)
    extending = tmp_path / "x.yaml"
    extending.write_text(f"schema: 1\nextends: {lock.name}\n")
    shutil.copy(lock, tmp_path)
    assert "expected a recipe, got a lock" in run("check", extending).stderr


def test_shipped_recipes_are_looked_at_by_their_versions() -> None:
    assert "good: " in good("check", "1.36.5", "1.37.1").stdout
    assert json.loads(good("show", "1.36.5", "--json").stdout)["kubernetes"] == "1.36.5"


def test_a_mistake_that_only_one_architecture_has_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "schema: 1\nextends: kubernetes-1.34.12.yaml\nfiles:\n"
        "  - name: crictl\n"
        "    url: \"{{ 'https' if arch == 'amd64' else 'http' }}://example.com/crictl\"\n"
    )
    result = run("check", path)
    assert result.exit_code == 3
    assert "expected an https address, got 'http://example.com/crictl'" in result.stderr


def test_a_lock_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    shutil.copytree(RECIPES, tmp_path / "recipes")
    path = tmp_path / "recipes" / "kubernetes-1.34.12.yaml"
    path.write_text(path.read_text().replace('crictl: "1.34.0"', 'crictl: "1.34.1"'))
    result = good("check", path)
    assert result.stdout == f"good: {path} (amd64, arm64)\n"
    assert "does not answer the recipe: files[crictl].url: the recipe has" in result.stderr


def test_check_tells_machines_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("schema: 1\nextends: kubernetes-1.34.12.yaml\nrevision: no\n")
    result = run("check", "--json", path)
    assert result.exit_code == 3
    assert json.loads(result.stdout) == [
        {
            "path": str(path),
            "architectures": [],
            "locked": [],
            "mistakes": [
                {
                    "file": str(path),
                    "line": 3,
                    "column": 11,
                    "path": "revision",
                    "fact": "expected a whole number, found 'no'",
                    "hint": None,
                }
            ],
            "warnings": [],
            "unfit": [],
        }
    ]


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\xff\xfe", b"a:\n\tb", b"[" * 100_000, b"a: &a [*a]\n", b"- 1\n"]
)
def test_garbage_is_an_error_of_the_file_not_of_the_program(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    result = run("check", path)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: {path}")


@pytest.mark.parametrize(
    ("more", "fact", "hint"),
    [
        ("vars: {calcio: '1'}", "vars.calcio: no template uses it", "correct its name"),
        ("boot: {os: debain-13}", "makes no 'debain-13'", "did you mean 'debian-13'?"),
    ],
)
def test_what_has_no_effect_is_told(tmp_path: Path, more: str, fact: str, hint: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"schema: 1\nextends: kubernetes-1.36.5.yaml\n{more}\n")
    result = good("check", path)
    assert fact in result.stderr
    assert hint in result.stderr


@pytest.mark.parametrize("text", ["sha256:abc", "sha512:" + "0" * 128, "abc", "SHA256SUMS"])
def test_a_checksum_that_is_none_says_what_it_could_be(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"schema: 1\nextends: kubernetes-1.36.5.yaml\nfiles: [{{name: etcd, checksum: '{text}'}}]\n"
    )
    result = run("check", path)
    assert result.exit_code == 3
    assert "expected sha256: and 64 of the digits 0-9 a-f, or the https address" in result.stderr


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_nothing_is_odd_about_what_is_shipped(path: Path) -> None:
    (checked,) = json.loads(good("check", "--json", path).stdout)
    assert checked["warnings"] == []
    assert [one for one in checked["unfit"] if one["level"] == "error"] == []


# --- show ---


def test_show_prints_a_recipe_that_is_a_recipe(tmp_path: Path) -> None:
    path = RECIPES / "kubernetes-1.36.5.yaml"
    shown = tmp_path / "shown.yaml"
    shown.write_text(good("show", path, "--arch", "arm64").stdout)
    assert load_recipe(shown).digest == load_recipe(path, "arm64").digest


def test_show_prints_json_for_machines() -> None:
    path = RECIPES / "kubernetes-1.36.5.yaml"
    shown = json.loads(good("show", path, "--json").stdout)
    assert shown == load_recipe(path).to_data()


def test_show_refuses_an_architecture_the_recipe_is_not_for(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("schema: 1\nextends: kubernetes-1.34.12.yaml\narchitectures: [amd64]\n")
    result = run("show", path, "--arch", "arm64")
    assert result.exit_code == 3
    assert "this recipe is for amd64, asked for arm64" in result.stderr


# --- new ---


@pytest.mark.parametrize("profile", ["mold-cks", "cloudstack-cks"])
def test_a_new_recipe_is_good_at_once(tmp_path: Path, profile: str) -> None:
    path = tmp_path / "kubernetes-1.36.9.yaml"
    result = good("new", "1.36.9", "--offline", "--profile", profile, "-o", path)
    assert result.stdout == f"{path}\n"
    recipe = load_recipe(path, "arm64")
    assert str(recipe.kubernetes) == "1.36.9"
    assert recipe.profile == profile
    assert "crictl-v1.36.0" in next(file.url for file in recipe.files if file.name == "crictl")


def test_a_new_recipe_says_what_it_was_begun_from() -> None:
    assert "# Begun from kubernetes-1.34.12.yaml" in good("new", "1.33.1", "--offline").stdout
    assert "# Begun from kubernetes-1.37.1.yaml" in good("new", "1.39.0", "--offline").stdout


def test_a_new_recipe_takes_the_etcd_of_its_kubeadm_or_says_that_it_is_not_known() -> None:
    known, unknown, none = (
        good("new", v, "--offline").stdout for v in ("1.33.6", "1.36.6", "1.38.0")
    )
    assert "etcd: 3.5.24\n" in known
    assert "not known here" not in known
    assert "# etcd 3.5.24: kubeadm 1.33.6 starts 3.5.24-0\n" in known
    assert "kubeadm 1.36.6 wants is not known here" in unknown
    assert "1.36 up to 1.36.5" in unknown
    assert "nothing of 1.38" in none


def test_a_new_recipe_does_not_replace_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("mine")
    assert run("new", "1.36.9", "-o", path).exit_code == 2
    assert path.read_text() == "mine"


def test_a_version_that_is_none_is_refused() -> None:
    result = run("new", "1.36.x", "--offline")
    assert result.exit_code == 3
    assert "expected a Kubernetes version x.y.z" in result.stderr


# --- import ---


def test_import_makes_a_good_recipe_and_its_lock(tmp_path: Path) -> None:
    result = good("import", SAMPLE, "--out", tmp_path)
    recipe = tmp_path / "kubernetes-1.34.12.yaml"
    lock = tmp_path / "kubernetes-1.34.12.amd64.lock.json"
    assert result.stdout == f"{recipe}\n{lock}\n"
    assert good("check", recipe).stdout == f"good: {recipe} (amd64, locked for amd64)\n"
    assert good("import", SAMPLE, "--out", tmp_path).stdout == result.stdout


def test_import_writes_the_lock_of_a_recipe_that_is_there(tmp_path: Path) -> None:
    shutil.copytree(RECIPES, tmp_path / "recipes")
    recipe = tmp_path / "recipes" / "kubernetes-1.34.12.yaml"
    lock = recipe.with_name("kubernetes-1.34.12.amd64.lock.json")
    before = load_lock(lock)
    # Everything that builder knows is forgotten; the rest it cannot tell.
    kept = [file for file in before.to_data()["files"] if file["path"].startswith("runtime/")]
    lock.write_text(json.dumps(before.to_data() | {"files": kept, "images": [], "manifests": []}))
    assert good("import", SAMPLE, "--recipe", recipe).stdout == f"{lock}\n"
    assert load_lock(lock).model_copy(update={"tool": before.tool}) == before


def test_import_does_not_replace_another_recipe(tmp_path: Path) -> None:
    path = tmp_path / "kubernetes-1.34.12.yaml"
    path.write_text("mine")
    result = run("import", SAMPLE, "--out", tmp_path)
    assert result.exit_code == 3
    assert "is there already, with other content" in result.stderr
    assert path.read_text() == "mine"


def test_import_for_another_recipe_names_every_difference(tmp_path: Path) -> None:
    before = (RECIPES / "kubernetes-1.35.9.amd64.lock.json").read_bytes()
    result = run("import", SAMPLE, "--recipe", RECIPES / "kubernetes-1.35.9.yaml")
    assert result.exit_code == 3
    assert "files[k8s/kubeadm]: its url is" in result.stderr
    assert (RECIPES / "kubernetes-1.35.9.amd64.lock.json").read_bytes() == before


def test_import_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"schema": 1}')
    result = run("import", path, "--out", tmp_path)
    assert result.exit_code == 3
    assert "the key 'files' is missing" in result.stderr


# --- schema ---


def test_schema_is_printed_as_it_is_shipped() -> None:
    assert good("schema").stdout.encode() == schema_bytes()


CALL = (
    "./create-kubernetes-binaries-iso.sh",
    "./",
    "1.33.1",
    "1.7.1",
    "1.33.0",
    "https://raw.githubusercontent.com/projectcalico/calico/v3.30.0/manifests/calico.yaml",
    "https://raw.githubusercontent.com/kubernetes/dashboard/v2.7.0/aio/deploy/recommended.yaml",
    "setup-v1.33.1",
)


def test_import_takes_a_call_of_cloudstacks_script_as_it_is_or_in_a_file(tmp_path: Path) -> None:
    result = good("import", "--out", tmp_path, *CALL)
    recipe = tmp_path / "kubernetes-1.33.1.yaml"
    assert result.stdout == f"{recipe}\n"
    text = recipe.read_text(encoding="utf-8")
    assert f"# Made from: {' '.join(CALL)}\n" in text
    assert good("check", recipe).stdout.startswith("good: ")
    script = tmp_path / "make.sh"
    script.write_text(f"#!/bin/sh\nsudo {' '.join(CALL)}\n", encoding="utf-8")
    other = tmp_path / "other"
    assert good("import", script, "--out", other).stdout == f"{other / recipe.name}\n"


def test_import_refuses_what_is_neither_a_file_nor_a_call(tmp_path: Path) -> None:
    assert run("import", tmp_path / "none.json").exit_code == 2
    assert run("import", SAMPLE, SAMPLE).exit_code == 2
    refused = run("import", "--out", tmp_path, *CALL[:4], "x", *CALL[5:])
    assert refused.exit_code == 3
    assert "CRICTL_VERSION: expected a version such as 1.33.1, found 'x'" in refused.stderr
    assert list(tmp_path.iterdir()) == []
