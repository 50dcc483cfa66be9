"""What the documents say is what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from isobuilder import __version__
from isobuilder.cli.main import COMMANDS
from isobuilder.model.config import PREFIX
from isobuilder.pipeline.shipped import shipped
from isobuilder.text import width
from tools import cast, proof_table, reference, rules_table
from tools.docs_site import index
from tools.tables import Table

PROJECT = Path(__file__).parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
DRAWINGS = sorted((PROJECT / "docs" / "images").glob("*.svg"))


@pytest.mark.parametrize("table", [rules_table.TABLE, proof_table.TABLE], ids=lambda one: one.name)
def test_the_tables_of_the_pages_are_current(table: Table) -> None:
    text = table.page.read_text(encoding="utf-8")
    assert text == table.up_to_date, f"run python -m tools.{table.name}_table --write"


@pytest.mark.parametrize("page", reference.PAGES, ids=lambda page: page.name)
def test_the_reference_is_what_the_code_says(page: Path) -> None:
    told = page.read_text(encoding="utf-8") if page.is_file() else ""
    assert told == reference.PAGES[page](), "run python -m tools.reference --write"


@pytest.mark.parametrize("file", cast.PAGES, ids=lambda file: file.name)
def test_the_recorded_session_is_that_of_the_page(file: Path) -> None:
    assert len(cast.session()) == len(cast.SHOWN)
    assert file.read_text(encoding="utf-8") == cast.PAGES[file](), (
        "run python -m tools.cast --write"
    )


def test_every_variable_that_is_read_is_in_the_reference() -> None:
    page = (PROJECT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    texts = [path.read_text("utf-8") for path in (PROJECT / "isobuilder").rglob("*.py")]
    read = {name for text in texts for name in re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", text)}
    named = {name for name in read if name.startswith(f"{PREFIX}MOLD_")}
    assert len(read) > 5
    # Of completion, of a machine's script, and the placeholders of our own texts.
    inner = {f"_{PREFIX}COMPLETE", f"{PREFIX}COMPLETE", f"{PREFIX}MOLD", f"{PREFIX}NODE"}
    assert sorted(name for name in read - inner if name not in page) == []
    assert named


def test_every_page_is_in_the_index_by_what_one_wants_to_do() -> None:
    docs = PROJECT / "docs"
    for folder, skipped in ((docs, ["ko"]), (docs / "ko", [])):
        listed = {
            PROJECT / place
            for pages in index(folder / "README.md").values()
            for _name, place in pages
        }
        there = {
            path
            for path in folder.rglob("*.md")
            if path != folder / "README.md" and path.relative_to(folder).parts[0] not in skipped
        }
        assert sorted(there - listed) == [], f"list it in {folder.name}/README.md"


def test_every_page_of_the_guide_is_there_in_korean() -> None:
    guide = index(PROJECT / "docs" / "README.md")["Guide"]
    korean = index(PROJECT / "docs" / "ko" / "README.md").values()
    there = {Path(place).name for pages in korean for _name, place in pages}
    assert sorted({Path(place).name for _name, place in guide} - there) == []


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.name)
def test_a_drawing_is_text_that_stays_inside(drawing: Path) -> None:
    root = ElementTree.fromstring(drawing.read_text(encoding="utf-8"))
    space = "{http://www.w3.org/2000/svg}"
    wide, high = map(float, root.attrib["viewBox"].split()[2:])
    assert root.findtext(f"{space}title")
    groups = [root, *root.iter(f"{space}g")]
    middle = {one for group in groups if group.get("text-anchor") == "middle" for one in group}
    texts = list(root.iter(f"{space}text"))
    assert texts
    for one in texts:
        told, x, y = one.text or "", float(one.attrib["x"]), float(one.attrib["y"])
        room = 7.5 if "path" in one.attrib.get("class", "") or wide > 800 else 6.6
        room = min(room, wide / 106)  # a terminal's letters fill it
        length = width(told) * room
        left = x - length / 2 if one in middle or one.get("text-anchor") == "middle" else x
        assert 0 <= left <= left + length <= wide, told
        assert 10 <= y <= high, told


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


def test_changelog_and_pages_name_the_version_that_this_is() -> None:
    headings = re.findall(r"^## (.+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [line for line in headings if line != "Unreleased"]
    assert re.fullmatch(re.escape(__version__) + r" - \d{4}-\d{2}-\d{2}", released[0])
    for page in PAGES:
        named = re.findall(r"isobuilder(?:==|:|-)(\d+\.\d+\.\d+)", page.read_text(encoding="utf-8"))
        assert set(named) <= {__version__}, page


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    reasons = (PROJECT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for line in wanted:
        name = re.split(r"[\[<>=]", line)[0].lower()
        assert name in reasons or name.startswith(("types-", "isobuilder")), name


SAME = (
    *("first-iso", "first-registration", "first-site", "installing", "python", "recipes", "tour"),
    *("cluster-files", "coming-from-the-script", "following-upstream", "monitoring"),
    *("reaching-upstream", "sbom", "signing-isos", "upgrading-nodes", "what-an-auditor-checks"),
)


@pytest.mark.parametrize("page", SAME)
def test_the_korean_page_shows_the_same(page: str) -> None:
    english, korean = (
        re.findall(r"```.*?\n.*?```", (PROJECT / "docs" / place).read_text("utf-8"), re.DOTALL)
        for place in (f"{page}.md", f"ko/{page}.md")
    )
    assert english
    assert english == korean


KOREAN = sorted((PROJECT / "docs" / "ko").glob("*.md"))
GUIDE = [path for path in KOREAN if path.name != "README.md"]


def shape(page: Path) -> dict[str, int]:
    """Count what a translation has as many of: headings, rows of tables, points, blocks."""
    text = page.read_text("utf-8")
    around = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {
        "headings": len(re.findall(r"^#+ ", around, re.MULTILINE)),
        "rows": len(re.findall(r"^\|", around, re.MULTILINE)),
        "points": len(re.findall(r"^\s*(?:-|\d+\.) ", around, re.MULTILINE)),
        "blocks": len(re.findall(r"^```", text, re.MULTILINE)),
    }


@pytest.mark.parametrize("page", GUIDE, ids=lambda path: path.stem)
def test_the_korean_page_leaves_nothing_out(page: Path) -> None:
    assert shape(page) == shape(PROJECT / "docs" / page.name)


@pytest.mark.parametrize("page", KOREAN, ids=lambda path: path.stem)
def test_a_korean_page_leads_to_korean_pages(page: Path) -> None:
    links = re.findall(r"\[([^\]]+)\]\(\.\./([\w.-]+\.md)", page.read_text("utf-8"))
    here = {path.name for path in GUIDE}
    assert [name for text, name in links if name in here and text != "English"] == []


@pytest.mark.parametrize("page", [PROJECT / "README.ko.md", *KOREAN], ids=lambda path: path.stem)
def test_korean_pages_have_one_word_for_one_thing(page: Path) -> None:
    """머신, 락, 장부, 프로필; names of products as they write themselves."""
    others = "기계|컴퓨터|쿠버네티스|잠금 파일|원장|대장|대역|데비안|파이썬|프로파일|머지 요청"
    assert re.findall(others, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_versions_that_a_command_takes_by_name_are_shipped(page: Path) -> None:
    commands = r"isobuilder (?:lock|plan|fetch|build|inspect|report|trust rebuild) (\d+\.\d+\.\d+)"
    named = set(re.findall(commands, page.read_text("utf-8")))
    assert named <= {str(one.version) for one in shipped()}
