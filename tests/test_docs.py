"""What the documents say is what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from isobuilder.cli.main import COMMANDS
from tools import proof_table
from tools.rules_table import DOCUMENT, with_table

PROJECT = Path(__file__).parents[1]
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])


def test_the_table_of_rules_is_current() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == with_table(text), "run python tools/rules_table.py --write"


def test_the_table_of_what_was_proved_is_current() -> None:
    text = proof_table.DOCUMENT.read_text(encoding="utf-8")
    assert text == proof_table.with_table(text), "run python -m tools.proof_table --write"
    assert f"| `k8s/kubelet` | {'never | ' * 4}source | bytes |" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_test_file_that_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"`(tests/[\w/]+\.py)", page.read_text(encoding="utf-8")):
        assert (PROJECT / name).is_file(), f"{page.name}: {name}"


def test_every_command_is_in_the_readme() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"isobuilder {name}" not in text]
    assert not missing


def test_the_page_about_testing_installs_what_the_build_server_installs() -> None:
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    page = (PROJECT / "docs" / "testing.md").read_text(encoding="utf-8")
    installed = re.search(r"packages=\((.*?)\)", script, re.DOTALL)
    told = re.search(r"apt-get install (.*?)```", page, re.DOTALL)
    assert installed
    assert told
    assert told[1].replace("\\", "").split() == installed[1].split()


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    reasons = (PROJECT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for line in wanted:
        name = re.split(r"[\[<>=]", line)[0].lower()
        assert name in reasons or name.startswith(("types-", "isobuilder")), name
