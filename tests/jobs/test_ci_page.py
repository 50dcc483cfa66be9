"""The page about CI is typed, and the pipelines it leads to are run to green and to red."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from isobuilder.demo.content import recipe
from tests.fakes.upstream import FakeUpstream
from tests.jobs.pages import Shell, blocks_of
from tests.jobs.runner import GitHub, GitLab
from tests.pipeline.site import Site

NAMES = [f"kubernetes-v1.34.8-mold-cks-{one}-r1" for one in ("amd64", "arm64")]
REMOTE = "https://git.example/me/isos.git"
GITLAB = "https://isobuilder:secret@gitlab.example:443/me/isos.git"

GH = """#!/usr/bin/env bash
# Stands for GitHub's own program: remembers what it was asked, and knows one pull request.
echo "$*" >> "$GH_LOG"
case "$1 $2" in
  "pr list") [ -e "$GH_LOG.open" ] && echo 1 || echo 0 ;;
  "pr create") touch "$GH_LOG.open" ;;
esac
"""


class Place:
    """An empty repository on a server, an upstream, and a person at a shell."""

    def __init__(self, folder: Path, upstream: FakeUpstream) -> None:
        self.folder = folder
        site_folder = folder / "site"
        site_folder.mkdir()
        self.site = Site(site_folder, upstream)
        self.server = folder / "isos.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.server], check=True)
        config = folder / "settings.yaml"
        mirrors = {name: list(places) for name, places in self.site.config.mirrors.items()}
        config.write_text(json.dumps({"mirrors": mirrors, "retries": 0}))
        programs = folder / "bin"
        programs.mkdir()
        (programs / "gh").write_text(GH)
        (programs / "gh").chmod(0o755)
        (folder / ".gitconfig").write_text(
            "[user]\nname = me\nemail = me@example.invalid\n"
            f'[url "{self.server}"]\ninsteadOf = {REMOTE}\ninsteadOf = {GITLAB}\n'
        )
        self.env = {
            "HOME": str(folder),
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GH_LOG": str(folder / "gh.log"),
            "ISOBUILDER_CONFIG": str(config),
            "PIP_NO_INDEX": "1",  # what is asked for is here already
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        work = folder / "work"
        work.mkdir()
        self.shell = Shell(work, {**self.env, "ISOBUILDER_STORE": str(folder / "store")})

    def type_page(self, style: str) -> None:
        """Type the page as far as the push, with what the embedded upstream has."""
        for block in blocks_of("building-in-ci.md"):
            if "--format github" in block and style != "github":
                continue
            if "--format gitlab --out" in block and style != "gitlab":
                continue
            if block.startswith("isobuilder matrix --recipes recipes --arch amd64 --format"):
                break
            self.shell.type(block)
            recipes = self.shell.folder / "recipes"
            if "recipe new" in block:  # the real one needs the real upstream
                (made,) = recipes.iterdir()
                made.unlink()
                text = recipe().decode().replace('"1.34.12"', '"1.34.8"')
                (recipes / "kubernetes-1.34.8.yaml").write_text(text)
            if "upstream schedule" in block:  # its minor has ended, and days are short in tests
                policy = self.shell.folder / "policy.yaml"
                text = policy.read_text().replace("hold_days: 3", "hold_days: 0")
                policy.write_text(text + "ended_minors: true\nknown_bad: true\n")

    def branch(self, name: str) -> list[str]:
        words: list[str | Path] = ["git", "-C", self.server, "ls-tree", "-r", "--name-only", name]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.stdout.split() if done.returncode == 0 else []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with FakeUpstream() as upstream:
        made = Place(tmp_path, upstream)
        yield made
        made.site.web.shutdown()
        made.site.web.server_close()


PROPOSED = {
    f"recipes/kubernetes-1.34.9{end}" for end in (".yaml", ".amd64.lock.json", ".arm64.lock.json")
}


@pytest.mark.slow
def test_the_page_leads_to_a_green_workflow_on_github(place: Place) -> None:
    place.type_page("github")
    assert ".github/workflows/isobuilder.yml" in place.branch("main")
    folder = place.folder / "runs"
    folder.mkdir()
    runner = GitHub(folder, place.server, place.env)
    runner.values["steps.cells.outputs.matrix"] = ""
    runner.run("cells")
    runner.build_all()
    assert sorted(path.name for path in (folder / "artifacts").iterdir()) == NAMES
    runner.run("status")
    (folder / "artifacts" / NAMES[1] / f"{NAMES[1]}.verified.json").unlink()
    with pytest.raises(AssertionError, match=f"unverified: {NAMES[1]}"):
        runner.run("status")

    # Once a day: nothing new, then a release, then the same one again.
    log = place.folder / "gh.log"
    runner.run("propose")
    assert not log.exists()
    place.site.release("1.34.9")
    runner.run("propose")
    assert set(place.branch("isobuilder/proposals")) >= PROPOSED
    assert not [name for name in place.branch("isobuilder/proposals") if ".sync" in name]
    runner.run("propose")
    asked = [line.split()[:2] for line in log.read_text().splitlines()]
    assert asked == [["pr", "list"], ["pr", "create"], ["pr", "list"], ["pr", "edit"]]
    assert runner.used >= {"actions/checkout", "actions/cache", "actions/upload-artifact"}


@pytest.mark.slow
def test_the_page_leads_to_a_green_pipeline_on_gitlab(place: Place) -> None:
    place.type_page("gitlab")
    folder = place.folder / "runs"
    folder.mkdir()
    subprocess.run(
        ["git", "-C", place.server, "config", "receive.advertisePushOptions", "true"], check=True
    )
    hook = place.server / "hooks/post-receive"
    hook.write_text('#!/bin/sh\necho "$GIT_PUSH_OPTION_0" >> options\n')
    hook.chmod(0o755)
    server = {
        "CI_SERVER_PROTOCOL": "https",
        "CI_SERVER_HOST": "gitlab.example",
        "CI_SERVER_PORT": "443",
        "CI_PROJECT_PATH": "me/isos",
        "ISOBUILDER_TOKEN": "secret",
    }
    runner = GitLab(folder, place.server, {**place.env, **server})
    runner.run("cells")
    child = runner.artifacts / "jobs.yml"
    jobs = [name for name in yaml.safe_load(child.read_text()) if name.startswith("kubernetes-")]
    assert sorted(jobs) == NAMES
    for name in jobs:
        runner.run(name, child)
    runner.run("status", child)
    (runner.artifacts / "dist" / f"{NAMES[0]}.iso.sha256").write_text(
        f"{'0' * 64}  {NAMES[0]}.iso\n"
    )
    with pytest.raises(AssertionError, match=f"unverified: {NAMES[0]}"):
        runner.run("status", child)

    place.site.release("1.34.9")
    runner.run("propose")
    assert set(place.branch("isobuilder/proposals")) >= PROPOSED
    assert (place.server / "options").read_text() == "merge_request.create\n"
    assert "1.34.9" in (runner.artifacts / "report.md").read_text()


@pytest.mark.slow
def test_what_the_page_tells_to_try_here_works(place: Place) -> None:
    place.type_page("gitlab")
    (last,) = [block for block in blocks_of("building-in-ci.md") if "build recipes/" in block]
    assert f"unverified: {NAMES[0]}" in place.shell.type(last)


@pytest.mark.parametrize("page", ["building-in-ci.md", "scheduled-builds.md"])
def test_both_languages_tell_the_same_commands(page: str) -> None:
    assert blocks_of(page)
    assert blocks_of(f"ko/{page}") == blocks_of(page)
