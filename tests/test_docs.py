"""What the documents say is what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from isobuilder.cli.main import COMMANDS
from tools import proof_table, rules_table
from tools.tables import Table

PROJECT = Path(__file__).parents[1]
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])


@pytest.mark.parametrize("table", [rules_table.TABLE, proof_table.TABLE], ids=lambda one: one.name)
def test_the_tables_of_the_pages_are_current(table: Table) -> None:
    text = table.page.read_text(encoding="utf-8")
    assert text == table.up_to_date, f"run python -m tools.{table.name}_table --write"


def test_what_was_rebuilt_bit_for_bit_is_said_so() -> None:
    assert f"| `k8s/kubelet` | {'never | ' * 4}source | bytes |" in proof_table.table()


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


@pytest.mark.parametrize(
    "page", ["upgrading-nodes.md", "cluster-files.md", "what-an-auditor-checks.md"]
)
def test_the_korean_page_shows_the_same(page: str) -> None:
    english, korean = (
        re.findall(r"```.*?\n.*?```", (PROJECT / "docs" / place).read_text("utf-8"), re.DOTALL)
        for place in (page, f"ko/{page}")
    )
    assert english
    assert english == korean
