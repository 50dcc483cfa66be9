"""Every ISO that recipes mean is a cell: a job for whoever does it, and a line of the status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from isobuilder.digest import Digest
from isobuilder.jobs.services import object_name
from isobuilder.model.loading import load_recipe
from isobuilder.store import Store
from tests.cli.calling import call, errors
from tests.fakes.upstream import FakeUpstream
from tests.pipeline.site import Site
from tests.pipeline.world import Locked, World

PLAIN = "kubernetes-v1.34.12-mold-cks-amd64-r1"
CSI = "kubernetes-v1.34.12-mold-cks-csi-amd64-r1"


class Checkout:
    """A folder of two recipes, one with a lock for amd64, and machines that build from it."""

    def __init__(self, folder: Path, world: World, locked: Locked, store: Store) -> None:
        self.folder, self.store = folder, store
        self.recipes = folder / "recipes"
        self.recipes.mkdir()
        for path in (world.recipe, world.csi_recipe, locked.path):
            shutil.copy(path, self.recipes / path.name)
        self.config = world.config_file

    def lock_csi(self) -> None:
        (recipe,) = self.recipes.glob("*csi.yaml")
        self.call("lock", recipe, "--arch", "amd64")

    def call(self, *words: str | Path, code: int = 0) -> Any:
        common = ("--config", self.config, "--store", self.store.root)
        return call(*words, *common, code=code)

    def cells(self, *words: str) -> list[dict[str, Any]]:
        out = self.call("matrix", "--recipes", self.recipes, "--json", *words).stdout
        return list(json.loads(out))

    def run(self, commands: list[str], machine: str) -> Path:
        """Run the commands of a job as a runner does, in a folder of its own."""
        place = self.folder / machine
        place.mkdir(exist_ok=True)
        subprocess.run(
            ["sh", "-euc", "\n".join(commands)],
            cwd=place,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "ISOBUILDER_CONFIG": str(self.config),
                "ISOBUILDER_STORE": str(self.store.root),
            },
            check=True,
            capture_output=True,
        )
        return place / "dist"

    def build(self, machine: str) -> Path:
        """Do every job on one machine and return the folder with what it made."""
        pipeline = self.call("matrix", "--recipes", self.recipes, "--format", "gitlab").stdout
        jobs = yaml.safe_load(pipeline)
        for name in sorted(jobs):
            if name.startswith("kubernetes-"):
                made = self.run(jobs[name]["script"], machine)
        return made

    def copy(self, made: Path, machine: str) -> Path:
        """Return a folder with what another machine made in the same way."""
        return Path(shutil.copytree(made, self.folder / machine / "dist"))

    def status(self, *words: str | Path, code: int = 0) -> list[str]:
        """Return the lines about cells that have a lock."""
        arguments = ("--recipes", self.recipes, "--arch", "amd64", *words)
        return list(self.call("matrix", "status", *arguments, code=code).stdout.splitlines())


@pytest.fixture
def checkout(tmp_path: Path, world: World, locked: Locked, full_store: Store) -> Checkout:
    return Checkout(tmp_path, world, locked, full_store)


# --- cells ---


def test_each_architecture_of_each_recipe_is_a_cell(checkout: Checkout) -> None:
    found = checkout.cells()
    assert [(one["architecture"], one["profile"], one["lock"] is None) for one in found] == [
        ("amd64", "mold-cks", False),
        ("arm64", "mold-cks", True),
        ("amd64", "mold-cks-csi", True),
        ("arm64", "mold-cks-csi", True),
    ]
    assert [one["name"] for one in found][::2] == [PLAIN, CSI]
    assert {one["architecture"] for one in checkout.cells("--arch", "arm64")} == {"arm64"}
    table = checkout.call("matrix", "--recipes", checkout.recipes).stdout.splitlines()
    assert table[0].split() == ["VERSION", "ARCHITECTURE", "PROFILE", "REVISION", "LOCK", "RECIPE"]
    assert table[2].split()[:5] == ["1.34.12", "arm64", "mold-cks", "r1", "none"]


def test_without_recipes_the_shipped_ones_are_meant_and_built_by_version() -> None:
    found = json.loads(call("matrix", "--arch", "amd64", "--json").stdout)
    assert [one["source"] for one in found] == [one["version"] for one in found]
    assert "1.37.1" in {one["source"] for one in found}


def test_two_recipes_for_one_iso_are_refused(checkout: Checkout) -> None:
    recipe = next(checkout.recipes.glob("*12.yaml"))
    shutil.copy(recipe, checkout.recipes / "same.yaml")
    done = checkout.call("matrix", "--recipes", checkout.recipes, code=3)
    assert f"would both become {PLAIN}.iso" in done.stderr


def test_a_lock_that_does_not_answer_its_recipe_is_told(checkout: Checkout) -> None:
    recipe = next(checkout.recipes.glob("*12.yaml"))
    recipe.write_text(recipe.read_text().replace("revision: 1", "revision: 2"))
    done = checkout.call("matrix", "--recipes", checkout.recipes, code=3)
    assert "does not answer" in done.stderr


def test_options_before_status_are_not_left_unheard(checkout: Checkout) -> None:
    done = call("matrix", "--recipes", checkout.recipes, "status", checkout.folder, code=2)
    assert "options follow the command" in done.stderr


# --- jobs ---


def test_cells_without_a_lock_are_no_jobs_and_are_told(checkout: Checkout) -> None:
    done = checkout.call("matrix", "--recipes", checkout.recipes, "--format", "github")
    (cell,) = json.loads(done.stdout)["include"]
    assert cell["name"] == PLAIN
    assert done.stdout.count("\n") == 1  # as GITHUB_OUTPUT wants it
    assert f"{CSI}: left out, " in done.stderr
    assert "isobuilder lock " in done.stderr
    for lock in checkout.recipes.glob("*.lock.json"):
        lock.unlink()
    done = checkout.call("matrix", "--recipes", checkout.recipes, "--format", "github", code=3)
    assert errors(done) == ["error: no cell has a lock"]


def test_a_child_pipeline_builds_verifies_and_compares(checkout: Checkout) -> None:
    words = (
        "--format",
        "gitlab",
        "--arch",
        "amd64",
        "--out",
        "isos",
        "--install",
        "./isobuilder-1.whl",
    )
    pipeline = yaml.safe_load(checkout.call("matrix", "--recipes", checkout.recipes, *words).stdout)
    assert pipeline["default"]["before_script"] == ["pip install --quiet ./isobuilder-1.whl"]
    job = pipeline[PLAIN]
    assert job["script"][0].endswith("--arch amd64 --no-boot --locked --out isos")
    assert job["artifacts"]["paths"] == ["isos/"]
    assert pipeline["status"]["script"] == [
        f"isobuilder matrix status isos --recipes {checkout.recipes} --arch amd64 --exit-code"
    ]


def test_jobs_of_kubernetes_need_an_image_and_have_names_it_takes(checkout: Checkout) -> None:
    words = ("matrix", "--recipes", checkout.recipes, "--format", "kubernetes")
    assert "needs --image" in checkout.call(*words, code=2).stderr
    (job,) = yaml.safe_load_all(checkout.call(*words, "--image", "registry.example/i:1").stdout)
    assert job["metadata"]["name"] == "kubernetes-v1-34-12-mold-cks-amd64-r1"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/i:1"
    long = f"kubernetes-v1.34.12-mold-cks-csi.{'x' * 30}-amd64-r1"
    names = {object_name(long), object_name(long + "2")}
    assert len(names) == 2
    assert all(len(name) <= 63 and not name.endswith("-") for name in names)


def test_a_file_name_cannot_become_a_command_of_a_job(checkout: Checkout) -> None:
    odd = checkout.recipes / "a;touch $(id -u) it's.yaml"
    next(checkout.recipes.glob("*12.yaml")).rename(odd)
    lock = next(checkout.recipes.glob("*12.amd64.lock.json"))
    lock.rename(checkout.recipes / f"{odd.stem}.amd64.lock.json")
    assert (checkout.build("a") / f"{PLAIN}.verified.json").exists()
    assert [path.name for path in (checkout.folder / "a").iterdir()] == ["dist"]


def test_a_name_that_is_no_text_is_no_job(checkout: Checkout) -> None:
    lock, recipe = (next(checkout.recipes.glob(f"*12.{end}")) for end in ("amd64.*", "yaml"))
    lock.rename(checkout.recipes / os.fsdecode(b"\xff.amd64.lock.json"))
    recipe.rename(checkout.recipes / os.fsdecode(b"\xff.yaml"))
    for style in ("github", "gitlab"):
        words = ("matrix", "--recipes", checkout.recipes, "--format", style)
        assert "no job can be told this name" in checkout.call(*words, code=3).stderr
    assert len(checkout.cells()) == 4


def test_a_name_that_looks_like_an_option_is_none(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout.recipes)
    (checkout.recipes / "-q.yaml").write_bytes(next(checkout.recipes.glob("*12.yaml")).read_bytes())
    done = checkout.call("matrix", "--json", "--recipes=-q.yaml")
    assert {one["source"] for one in json.loads(done.stdout)} == {"./-q.yaml"}


def test_what_editors_leave_and_folders_are_no_recipes(checkout: Checkout) -> None:
    before = checkout.cells()
    (checkout.recipes / ".#a.yaml").symlink_to("somebody@example.4711:1")
    (checkout.recipes / ".hidden.yaml").write_text("none: of ours")
    (checkout.recipes / "old.yaml").mkdir()
    assert checkout.cells() == before
    checkout.status(checkout.folder)
    (link := checkout.recipes / "x.yaml").symlink_to("nowhere")
    done = checkout.call("matrix", "--recipes", checkout.recipes, code=3)
    assert errors(done) == [f"error: {link}: cannot be read: No such file or directory"]


# --- status ---


def test_where_there_is_no_recipe_nothing_is_called_good(checkout: Checkout) -> None:
    (empty := checkout.folder / "empty").mkdir()
    arguments = ("--recipes", empty, "--exit-code")
    done = checkout.call("matrix", "status", empty, *arguments, code=3)
    assert errors(done) == ["error: no recipe for this"]
    assert checkout.call("matrix", "--recipes", empty, code=3).stdout == ""


def test_what_is_no_file_is_not_waited_for(checkout: Checkout) -> None:
    made = checkout.folder / "made"
    made.mkdir()
    for end in ("iso", "iso.sha256", "lock.json", "verified.json"):
        os.mkfifo(made / f"{PLAIN}.{end}")
    assert checkout.status(made, "--hash")[0] == f"missing: {PLAIN}"


def test_cells_that_all_machines_made_alike_are_good(checkout: Checkout) -> None:
    checkout.lock_csi()
    one = checkout.build("a")
    other = checkout.copy(one, "b")
    iso = one / f"{PLAIN}.iso"
    lines = checkout.status(one, other, "--exit-code")
    assert lines[0] == f"good: {PLAIN}: {Digest.of_file(iso)}"
    assert lines[1].startswith(f"good: {CSI}: sha256:")
    # Side files say enough: ISOs may stay where they were built.
    iso.unlink()
    assert checkout.status(one, "--exit-code") == lines
    # Where one machine verified these bytes, the other one's are the same.
    (other / f"{PLAIN}.verified.json").unlink()
    assert checkout.status(one, other, "--hash", "--exit-code") == lines


def test_a_cell_that_nobody_made_is_missing(checkout: Checkout) -> None:
    made = checkout.build("a")
    lines = checkout.status(made, "--exit-code", code=9)
    assert lines[1] == f"missing: {CSI}"
    assert lines[2].startswith("  nobody has built it: ")
    assert lines[2].endswith("csi.yaml has no lock for amd64")
    checkout.lock_csi()
    assert checkout.status(made)[2] == "  nobody has built it"


def test_a_cell_that_nobody_verified_is_told(checkout: Checkout) -> None:
    made = checkout.build("a")
    record = made / f"{PLAIN}.verified.json"
    said = json.loads(record.read_text())
    for text, why in (
        (None, "there is no "),
        (json.dumps({**said, "passed": False}), "it did not pass"),
        (json.dumps({**said, "not_proved": ["where it comes from"]}), "without its lock"),
        (json.dumps({**said, "digest": "sha256:" + "0" * 64}), "the ISO is sha256:"),
        ("[]", "is not what isobuilder verify --json prints"),
        ("{", "JSON"),
    ):
        record.unlink(missing_ok=True)
        if text is not None:
            record.write_text(text)
        lines = checkout.status(made)
        assert lines[0].startswith(f"unverified: {PLAIN}: sha256:")
        assert why in lines[1]


def test_a_cell_that_differs_between_machines_is_told_with_both_digests(checkout: Checkout) -> None:
    one = checkout.build("a")
    other = checkout.copy(one, "b")
    sums = other / f"{PLAIN}.iso.sha256"
    sums.write_text(f"{'1' * 64}  {PLAIN}.iso\n")
    lines = checkout.status(one, other, "--exit-code", code=9)
    assert lines[0] == f"different: {PLAIN}"
    assert lines[1].startswith(f"  {one / PLAIN}.iso: sha256:")
    assert lines[2] == f"  {other / PLAIN}.iso: sha256:{'1' * 64}"
    hashed = checkout.status(other, "--hash")
    assert f"{sums.name} says sha256:{'1' * 64}" in hashed[1]
    sums.write_text("nothing of the kind\n")
    assert "expected a digest and" in checkout.status(other)[1]


def test_a_cell_that_was_built_from_another_lock_is_told(checkout: Checkout) -> None:
    made = checkout.build("a")
    recipe = next(checkout.recipes.glob("*12.yaml"))
    assert load_recipe(recipe).revision == 1
    beside = made / f"{PLAIN}.lock.json"
    lock = json.loads(beside.read_text())
    lock["epoch"] += 1
    beside.write_text(json.dumps(lock))
    lines = checkout.status(made)
    assert lines[0] == f"different: {PLAIN}"
    assert "built from another lock than that of" in lines[1]


def test_what_a_sync_published_is_good_until_its_bytes_are_others(tmp_path: Path) -> None:
    with FakeUpstream() as upstream:
        site = Site(tmp_path, upstream)
        site.run(architectures=["amd64"])
        site.web.shutdown()
        site.web.server_close()
    words = ("matrix", "status", site.published, "--recipes", site.recipes, "--arch", "amd64")
    lines = call(*words, "--exit-code").stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["good", "good"]
    iso = next(site.published.glob("*.iso"))
    iso.chmod(0o644)
    iso.write_bytes(b"other bytes")
    assert call(*words).stdout.splitlines() == lines  # what lies beside it still says so
    hashed = call(*words, "--hash", "--exit-code", code=9).stdout
    assert f"different: {iso.stem}\n" in hashed
    assert f"{iso}: is {Digest.of(b'other bytes')}, the index says" in hashed


def test_a_folder_that_is_not_there_is_told(checkout: Checkout) -> None:
    done = checkout.call("matrix", "status", checkout.folder / "nowhere", code=3)
    assert "there is no such folder" in done.stderr


def test_status_speaks_to_machines(checkout: Checkout) -> None:
    made = checkout.build("a")
    arguments = ("matrix", "status", made, "--recipes", checkout.recipes, "--json")
    found = json.loads(checkout.call(*arguments).stdout)
    assert [one["state"] for one in found] == ["good", "missing", "missing", "missing"]
    assert found[0]["digest"].startswith("sha256:")
