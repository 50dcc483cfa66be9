"""What a browser makes of the pages: access, colours, languages, keyboard, time, pictures."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.pipeline.build import Built
from tests.cli.calling import call
from tests.pages.browser import DESK, PHONE, Browser
from tests.report.catalogues import describe, describe_many

pytestmark = pytest.mark.pages

PICTURES = Path(__file__).parents[2] / "docs" / "images" / "pages"
TOLERANCE = 0.02  # share of a picture that may differ: letters of another release of a font
PAGES = ("report", "index", "compare", "calendar", "upgrades")
VIEWS = [
    (page, language, size, dark)
    for page in PAGES
    for language in ("en", "ko")
    for size in ("desk", "phone")
    for dark in (False, True)
]
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def name_of(view: tuple[str, str, str, bool]) -> str:
    page, language, size, dark = view
    return f"{page}-{language}-{size}-{'dark' if dark else 'light'}"


@pytest.fixture(scope="module")
def site(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of some versions and their report, the newest ISO being a real one."""
    folder = tmp_path_factory.mktemp("pages")
    for version in ("1.31.14", "1.32.13", "1.33.12", "1.33.13", "1.34.9", "1.34.11"):
        describe(built, folder / "isos", version)
    for version in ("1.35.6", "1.36.5", "1.37.1"):
        describe(built, folder / "isos", version, architecture="arm64", variant="gpu")
    for path in (built.iso, *built.side_files):
        shutil.copy(path, folder / "isos")
    call("catalogue", folder / "isos", "-o", folder / "site")
    call("report", folder / "isos" / built.iso.name, "-o", folder / "site" / "report.html")
    return folder / "site"


@pytest.fixture(scope="module")
def large(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of a thousand ISOs."""
    folder = tmp_path_factory.mktemp("large")
    describe_many(built, folder / "isos", 1000)
    call("catalogue", folder / "isos", "-o", folder / "site")
    return folder / "site"


@pytest.fixture(autouse=True)
def _no_complaints(tab: Browser) -> Iterator[None]:
    tab.events.clear()
    yield
    assert tab.faults == []


def switch(tab: Browser, language: str) -> None:
    tab.run(f"document.getElementById('lang-{language}').click()")


@pytest.mark.parametrize("view", VIEWS, ids=name_of)
def test_nothing_keeps_anybody_out_and_the_page_looks_as_it_did(
    view: tuple[str, str, str, bool], tab: Browser, site: Path, axe: str
) -> None:
    page, language, size, dark = view
    window = DESK if size == "desk" else PHONE
    tab.open(site / f"{page}.html", size=window, dark=dark)
    switch(tab, language)
    tab.run("document.activeElement.blur()")
    if page == "calendar":  # days pass
        tab.run("document.querySelectorAll('td[data-end]').forEach(one => one.textContent = '7')")
    shown = tab.picture(window)
    tab.run(axe)
    options = json.dumps({"runOnly": {"type": "tag", "values": _RULES}})
    told = tab.run(f"axe.run({options}).then(found => found.violations)")
    found = [
        f"{one['id']}: {node['target']}: {node['failureSummary']}"
        for one in told
        for node in one["nodes"]
    ]
    assert found == []
    wide = tab.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0, "the page itself scrolls sideways"
    path = PICTURES / f"{name_of(view)}.webp"
    if os.environ.get("ISOBUILDER_PICTURES"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shown)
    assert tab.difference(path.read_bytes(), shown) <= TOLERANCE, f"unlike {path.name}"


@pytest.mark.parametrize("page", PAGES)
def test_only_one_language_is_shown_at_a_time(page: str, tab: Browser, site: Path) -> None:
    tab.open(site / f"{page}.html", script=page != "report")
    shown = {}
    for language in ("en", "ko"):
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
        switch(tab, language)
        shown[language] = tab.run("document.querySelector('main').innerText")
    assert not any("가" <= letter <= "힣" for letter in shown["en"])
    assert any("가" <= letter <= "힣" for letter in shown["ko"])


@pytest.mark.parametrize("page", PAGES)
def test_nothing_moves_while_a_page_opens(page: str, tab: Browser, site: Path) -> None:
    tab.open(site / f"{page}.html")
    moved = tab.run(
        """new Promise(done => {
        let sum = 0;
        new PerformanceObserver(list => list.getEntries().forEach(one => sum += one.value))
          .observe({type: "layout-shift", buffered: true});
        setTimeout(() => done(sum), 300);
        })"""
    )
    assert moved == 0


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_no_label_of_the_treemap_leaves_its_tile(
    size: tuple[int, int], tab: Browser, site: Path
) -> None:
    tab.open(site / "report.html", size=size)
    over = """[...document.querySelectorAll('.map text')].filter(one => one.getClientRects().length
        && one.getComputedTextLength() + 6 > one.parentNode.width.baseVal.value)
        .map(one => one.textContent)"""
    assert tab.run("document.querySelectorAll('.map text').length") > 20
    assert tab.run(over) == []


def test_the_report_is_whole_without_a_script(tab: Browser, site: Path) -> None:
    tab.open(site / "report.html", script=False)
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    text = tab.run("document.querySelector('main').innerText")
    for part in ("Kubernetes 1.34.12", "Node contract", "sha256sum", "registry.k8s.io/pause"):
        assert part in text


def test_the_table_is_searched_and_filtered_by_keyboard(tab: Browser, site: Path) -> None:
    tab.open(site / "index.html")
    switch(tab, "en")
    for _ in range(40):
        tab.tab()
        if tab.focused() == "q":
            break
    assert tab.focused() == "q"
    tab.type("1.34 r1")
    shown = "document.querySelectorAll('#isos tbody tr:not([hidden]) th')"
    rows = f"[...{shown}].map(one => one.innerText)"
    assert tab.run(rows) == ["1.34.12 r1", "1.34.11 r1", "1.34.9 r1"]
    assert tab.run("document.getElementById('count').innerText") == "3 shown"
    tab.type(" nothing")
    assert tab.run("document.getElementById('none').hidden") is False
    for _ in range(12):
        tab.press("Backspace", 8)
        tab.call("Input.dispatchKeyEvent", type="keyDown", key="Backspace", windowsVirtualKeyCode=8)
    tab.run("document.getElementById('q').value = ''")
    tab.tab()
    assert tab.focused() == "minor"
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown", windowsVirtualKeyCode=40)
    assert tab.run(rows) == ["1.37.1 r1"]
    tab.tab()
    assert tab.focused() == "arch"


def test_two_isos_are_compared_from_a_disk(tab: Browser, site: Path) -> None:
    tab.open(site / "compare.html")
    switch(tab, "en")
    choose = "const one = document.getElementById('%s'); one.value = '%s';"
    choose += "one.dispatchEvent(new Event('change'))"
    tab.run("{" + choose % ("left", "kubernetes-v1.34.11-mold-cks-amd64-r1") + "}")
    tab.run("{" + choose % ("right", "kubernetes-v1.34.12-mold-cks-amd64-r1") + "}")
    tab.run("new Promise(done => setTimeout(done, 300))")
    told = tab.run("document.getElementById('changes').innerText")
    assert "kubernetes\t1.34.11\t1.34.12" in told
    assert "differences" in tab.run("document.getElementById('count').innerText")


def test_a_thousand_isos_open_and_filter_within_a_second(tab: Browser, large: Path) -> None:
    assert (large / "index.html").stat().st_size < 300_000
    assert (large / "compare.html").stat().st_size < 300_000
    before = tab.seconds
    tab.open(large / "index.html")
    tab.run("document.getElementById('q').focus()")
    tab.type("1.35 arm64")
    shown = tab.run("document.querySelectorAll('#isos tbody tr:not([hidden])').length")
    assert 0 < shown < 100
    tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    took = tab.seconds - before
    print(f"a thousand ISOs: opened and filtered in {took:.2f} s of processor time")
    assert took < 1.0


def test_a_page_is_printed_in_one_language_without_what_one_presses(
    tab: Browser, site: Path
) -> None:
    tab.open(site / "report.html", dark=True)
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.run("getComputedStyle(document.querySelector('.lang')).display") == "none"
    assert (
        tab.run("getComputedStyle(document.documentElement).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    told = tab.call("Page.printToPDF", printBackground=True)
    assert len(told["data"]) > 10_000
