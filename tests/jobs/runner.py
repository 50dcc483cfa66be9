"""Small runners of pipelines: they do the steps of a job, in the folder and with the variables
that GitHub's and GitLab's own runners give to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(slots=True)
class GitHub:
    """A runner of the workflow in a repository; artifacts are kept below ``folder``."""

    folder: Path
    repository: Path
    env: Mapping[str, str]
    values: dict[str, Any] = field(default_factory=dict)  # of expressions
    used: set[str] = field(default_factory=set)  # actions

    def run(self, name: str, **values: Any) -> Path:
        """Do a job and return its folder; ``values`` are what its expressions mean."""
        work = self.folder / f"github-{name}-{len(list(self.folder.iterdir()))}"
        subprocess.run(["git", "clone", "-q", self.repository, work], check=True)
        text = (work / ".github/workflows/isobuilder.yml").read_text()
        workflow = yaml.load(text, yaml.BaseLoader)
        job = workflow["jobs"][name]
        self.values.update(values)
        self.values["github.workspace"] = str(work)
        self.values["github.token"] = "secret"
        files = {key: work.parent / f"{work.name}.{key}" for key in ("OUTPUT", "ENV", "SUMMARY")}
        for path in files.values():
            path.touch()
        temporary = work.parent / f"{work.name}.temp"
        temporary.mkdir()
        env = {
            **os.environ,
            **{key: self.meant(value) for key, value in workflow["env"].items()},
            **{key: self.meant(value) for key, value in job.get("env", {}).items()},
            **self.env,
            "GITHUB_OUTPUT": str(files["OUTPUT"]),
            "GITHUB_ENV": str(files["ENV"]),
            "GITHUB_STEP_SUMMARY": str(files["SUMMARY"]),
            "RUNNER_TEMP": str(temporary),
        }
        for step in job["steps"]:
            later = dict(line.split("=", 1) for line in files["ENV"].read_text().splitlines())
            if step.get("if") == "env.pushed == 'yes'" and later.get("pushed") != "yes":
                continue
            if "uses" in step:
                self.use(step, work)
                continue
            words = ["bash", "-eo", "pipefail", "-c", self.meant(step["run"])]
            done = subprocess.run(
                words, cwd=work, env={**env, **later}, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{step}\n{done.stdout}\n{done.stderr}"
        for line in files["OUTPUT"].read_text().splitlines():
            key, value = line.split("=", 1)
            self.values[f"needs.{name}.outputs.{key}"] = value
        return work

    def meant(self, text: str) -> str:
        """Return a text with its expressions evaluated; one that is not known is an error."""
        return re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda found: str(self.values[found[1]]), text)

    def use(self, step: dict[str, Any], work: Path) -> None:
        action = step["uses"].partition("@")[0]
        self.used.add(action)
        artifacts = self.folder / "artifacts"
        if action == "actions/upload-artifact":
            shutil.copytree(
                work / step["with"]["path"], artifacts / self.meant(step["with"]["name"])
            )
        elif action == "actions/download-artifact":
            assert step["with"]["merge-multiple"] == "true"
            for artifact in artifacts.iterdir():
                shutil.copytree(artifact, work / step["with"]["path"], dirs_exist_ok=True)

    def build_all(self) -> None:
        """Do the job ``build`` for each cell of the matrix that ``cells`` gave."""
        for cell in json.loads(self.values["needs.cells.outputs.matrix"])["include"]:
            self.run("build", **{f"matrix.{key}": value for key, value in cell.items()})


@dataclass(slots=True)
class GitLab:
    """A runner of the pipeline in a repository; artifacts are kept in ``artifacts``."""

    folder: Path
    repository: Path
    env: Mapping[str, str]

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def run(self, name: str, file: Path | None = None) -> Path:
        """Do a job of the pipeline, or of the child pipeline in ``file``; return its folder."""
        work = self.folder / f"gitlab-{name}-{len(list(self.folder.iterdir()))}"
        subprocess.run(["git", "clone", "-q", self.repository, work], check=True)
        self.artifacts.mkdir(exist_ok=True)
        shutil.copytree(self.artifacts, work, dirs_exist_ok=True)
        pipeline = yaml.load((file or work / ".gitlab-ci.yml").read_text(), yaml.BaseLoader)
        job = pipeline[name]
        before = job.get("before_script", pipeline["default"].get("before_script", []))
        env = {**os.environ, **self.env, "CI_PROJECT_DIR": str(work)}
        for key, value in {**pipeline["variables"], **job.get("variables", {})}.items():
            env[key] = re.sub(r"\$(\w+)", lambda found: env[found[1]], value)
        for line in [*_flat(before), *job["script"]]:
            if line.startswith("apt-get "):
                continue  # the image has no git; this machine has
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", line],
                cwd=work,
                env={**env, **self.env},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        for path in job.get("artifacts", {}).get("paths", []):
            if (work / path).is_dir():
                shutil.copytree(work / path, self.artifacts / path, dirs_exist_ok=True)
            else:
                shutil.copy(work / path, self.artifacts / path)
        return work


def _flat(lines: Any) -> list[str]:
    if isinstance(lines, str):
        return [lines]
    return [one for line in lines for one in _flat(line)]
