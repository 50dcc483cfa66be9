from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from isobuilder.demo.mold import Cloud, CloudUser, Timing
from isobuilder.formats.kube import KubeVersion
from isobuilder.pipeline.build import Built
from isobuilder.report.overview import way_from
from tests.cli.calling import call, errors, hints
from tests.fakes.mold import FakeMold
from tests.fakes.web import Web
from tests.mold.messes import add_directly
from tests.pipeline.world import command
from tests.report.catalogues import describe, describe_many
from tests.report.reading import Element, read_page, tables

PAGES = ("index.html", "compare.html", "calendar.html", "upgrades.html")
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def shelf(built: Built, tmp_path: Path) -> Path:
    """A folder with a few described ISOs and a real one."""
    folder = tmp_path / "isos"
    describe(built, folder, "1.34.9")
    describe(built, folder, "1.34.12", revision=2)
    describe(built, folder, "1.35.0")
    describe(built, folder, "1.37.1", architecture="arm64", variant="gpu")
    for path in (built.iso, *built.side_files):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def site(shelf: Path, tmp_path: Path) -> Path:
    call("catalogue", shelf, "--out", tmp_path / "site")
    return tmp_path / "site"


def page(site: Path, name: str) -> Element:
    return read_page((site / name).read_bytes())


def index(site: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((site / "index.json").read_bytes())
    return found


def test_the_table_has_every_iso_the_newest_version_first(site: Path) -> None:
    rows = tables(page(site, "index.html"))[0]
    assert [row[0] for row in rows[1:]] == [
        *("1.37.1 r1", "1.35.0 r1", "1.34.12 r2", "1.34.12 r1", "1.34.9 r1")
    ]
    assert rows[1][1:4] == ["arm64", "mold-cks.gpu", "2027-10-28"]
    assert "Registered at" not in rows[0]


def test_one_iso_is_told_as_one(built: Built, site: Path, tmp_path: Path) -> None:
    describe(built, tmp_path / "one", "1.34.9")
    call("catalogue", tmp_path / "one", "--out", tmp_path / "alone")
    for folder, told in ((tmp_path / "alone", "1 ISO of 1 minor version"), (site, "5 ISOs of 3")):
        assert told in page(folder, "index.html").find("main")[0].shown("en")


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    for path in sorted(site.rglob("*.html")):
        found = read_page(path.read_bytes())
        ids = {one.attributes["id"] for one in found.walk() if "id" in one.attributes}
        for one in (*found.find("a"), *found.find("link")):
            file, _, part = one.attributes["href"].partition("#")
            assert not file or (path.parent / file).is_file(), f"{path.name}: {file}"
            assert not part or part in ids, f"{path.name}: #{part}"


def test_the_page_of_each_iso_says_what_changed_since_the_one_before_of_its_kind(
    site: Path,
) -> None:
    names = {one["name"]: page(site, one["page"]) for one in index(site)["isos"]}
    told = {
        name: [one.shown("en") for one in found.find("section", aria_labelledby="changes")]
        for name, found in names.items()
    }
    assert told["kubernetes-v1.34.9-mold-cks-amd64-r1"] == []
    assert told["kubernetes-v1.37.1-mold-cks.gpu-arm64-r1"] == []
    assert (
        "Since kubernetes-v1.34.12-mold-cks-amd64-r2."
        in (told["kubernetes-v1.35.0-mold-cks-amd64-r1"][0])
    )
    for found in names.values():
        assert found.find("nav")[0].find("a")[0].attributes["href"] == "../index.html"


def test_index_json_has_what_the_table_has_for_programs(site: Path, built: Built) -> None:
    [ours] = [one for one in index(site)["isos"] if one["name"] == built.iso.stem]
    assert ours == {
        "name": built.iso.stem,
        "kubernetes": "1.34.12",
        "revision": 1,
        "variant": None,
        "product_version": "1.34.12+mold-cks.r1",
        "profile": "mold-cks",
        "architecture": "amd64",
        "bootable": False,
        "size": built.size,
        "sha256": built.digest.hex,
        "lock_sha256": built.lock.digest.hex,
        "signed": False,
        "released": ours["released"],
        "end_of_life": "2026-10-27",
        "deltas": [],
        "servers": [],
        "page": f"isos/{built.iso.stem}.html",
    }


@pytest.mark.parametrize(
    "url",
    [
        "https://u:secret@x/",
        "javascript:alert(1)",
        "x",
        "https://[",
        "https://x/\udcff",  # as Python has the byte 0xff of a command line
        "https://x/a b",
        "https://x/\n",
    ],
)
def test_an_address_that_feeds_may_not_have_is_refused(
    tmp_path: Path, shelf: Path, url: str
) -> None:
    done = call("catalogue", shelf, "-o", tmp_path / "site", "--url", url, code=2)
    assert "--url" in done.stderr
    assert "secret" not in done.stderr
    assert not (tmp_path / "site").exists()


def test_feeds_name_each_iso_by_its_digest(site: Path, shelf: Path) -> None:
    call("catalogue", shelf, "-o", site, "--url", "https://iso.example/catalogue")
    atom = ElementTree.parse(site / "feed.atom").getroot()
    feed = json.loads((site / "feed.json").read_bytes())
    entries = atom.findall(f"{ATOM}entry")
    assert len(entries) == len(feed["items"]) == 5
    assert [one.findtext(f"{ATOM}id") for one in entries] == [one["id"] for one in feed["items"]]
    assert len({one["id"] for one in feed["items"]}) == 5
    assert all(one["id"].startswith("ni:///sha-256;") for one in feed["items"])
    for one in feed["items"]:
        start = "https://iso.example/catalogue/isos/"
        assert one["url"].startswith(start)
        assert (site / one["url"].removeprefix("https://iso.example/catalogue/")).is_file()
    times = [one.findtext(f"{ATOM}updated") or "" for one in entries]
    assert atom.findtext(f"{ATOM}updated") == max(times)
    assert times == sorted(times, reverse=True)


def test_the_calendar_has_each_minor_with_its_days(site: Path) -> None:
    rows = tables(page(site, "calendar.html"))[0]
    assert [row[:4] for row in rows[1:]] == [
        ["1.34", "2025-08-27", "2026-08-27", "2026-10-27"],
        ["1.35", "2025-12-17", "2026-12-28", "2027-02-28"],
        ["1.37", "2026-08-26", "2027-08-28", "2027-10-28"],
    ]
    assert [row[5:] for row in rows[1:]] == [["1.34.12", "3"], ["1.35.0", "1"], ["1.37.1", "1"]]


def test_the_map_has_the_ways_and_the_gaps(built: Built, tmp_path: Path) -> None:
    for version in ("1.33.1", "1.33.4", "1.34.0", "1.34.2", "1.36.5"):
        describe(built, tmp_path / "isos", version)
    call("catalogue", tmp_path / "isos", "-o", tmp_path / "site")
    found = page(tmp_path / "site", "upgrades.html")
    assert dict(row[:2] for row in tables(found)[0][1:]) == {
        "1.33.1": "→ 1.34.2",
        "1.33.4": "→ 1.34.2",
        "1.34.0": "→ 1.34.2",
        "1.34.2": "is the newest that can be reached",
        "1.36.5": "is the newest that can be reached",
    }
    assert [one.shown("en") for one in found.find("li", class_="gap")] == [
        "no way: there is no 1.35"
    ]


@pytest.mark.parametrize(
    ("version", "way"),
    [
        ("1.33.4", ["1.34.2", "1.35.1"]),
        ("1.33.9", ["1.34.2", "1.35.1"]),
        ("1.35.0", ["1.35.1"]),
        ("1.35.1", []),
        ("1.37.0", []),
        ("1.32.0", ["1.33.4", "1.34.2", "1.35.1"]),
        ("1.30.0", []),
    ],
)
def test_a_way_goes_one_minor_at_a_time(version: str, way: list[str]) -> None:
    known = ("1.33.4", "1.34.2", "1.35.1", "1.37.0")
    newest = {KubeVersion(text).minor: KubeVersion(text) for text in known}
    assert [str(one) for one in way_from(KubeVersion(version), newest)] == way


# --- what it is made of ---


def test_an_iso_without_side_files_is_told_by_its_manifest(built: Built, tmp_path: Path) -> None:
    (tmp_path / "isos").mkdir()
    shutil.copy(built.iso, tmp_path / "isos")
    call("catalogue", tmp_path / "isos", "-o", tmp_path / "site")
    [one] = index(tmp_path / "site")["isos"]
    assert (one["name"], one["size"], one["sha256"]) == (built.iso.stem, built.size, None)


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_damaged_is_told_and_left_out(shelf: Path, tmp_path: Path, number: int) -> None:
    name = "kubernetes-v1.35.0-mold-cks-amd64-r1"
    end, text = [("manifest.json", "<html>"), ("registration.json", "{}")][number]
    (shelf / f"{name}.{end}").write_text(text)
    done = call("catalogue", shelf, "-o", tmp_path / "site", code=7)
    assert f"{name}.{end}" in errors(done)[0]
    assert str(tmp_path) not in (tmp_path / "site" / "index.html").read_text()
    assert len(index(tmp_path / "site")["isos"]) == 4
    [line] = page(tmp_path / "site", "index.html").find("li", class_="bad")
    assert f"{name}.{end}" in line.text


def test_two_isos_of_one_name_are_told(built: Built, shelf: Path, tmp_path: Path) -> None:
    describe(built, tmp_path / "other", "1.35.0")
    [path] = (tmp_path / "other").glob("*.registration.json")
    text = json.loads((shelf / path.name).read_text())
    text["checksum"] = "{SHA-256}" + "0" * 64
    path.write_text(json.dumps(text))
    done = call("catalogue", shelf, tmp_path / "other", "-o", tmp_path / "site", code=7)
    assert "another of that name is sha256:" in errors(done)[0]
    assert len(index(tmp_path / "site")["isos"]) == 5


def test_names_that_are_none_of_ours_are_left_out(shelf: Path, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    (shelf / f"{hostile}.iso").write_bytes(b"x")
    (shelf / "\u202eevil.manifest.json").write_text("{}")
    done = call("catalogue", shelf, "-o", tmp_path / "site", code=7)
    assert [line for line in errors(done) if "not a name that isobuilder gives" in line]
    found = page(tmp_path / "site", "index.html")
    assert not found.find("img")
    assert "\u202e" not in (tmp_path / "site" / "index.html").read_text()


def test_where_no_iso_is_ours_that_is_told_and_the_site_is_there(tmp_path: Path) -> None:
    (tmp_path / "isos").mkdir()
    (tmp_path / "isos" / "other.iso").write_bytes(b"x")  # as debian.iso, and the like
    for _ in range(2):
        done = call("catalogue", tmp_path / "isos", "-o", tmp_path / "site", code=7)
        assert [line for line in errors(done) if "other.iso: " in line]
        assert index(tmp_path / "site")["isos"] == []


def test_a_folder_without_isos_is_refused(tmp_path: Path) -> None:
    done = call("catalogue", tmp_path, "-o", tmp_path / "site", code=3)
    assert "no ISO in these folders" in errors(done)[0]
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("text", [None, "{}", "[]", '{"isos": []}', "<html>"])
def test_a_folder_with_other_things_is_not_touched(
    shelf: Path, tmp_path: Path, text: str | None
) -> None:
    out = tmp_path / "home"
    (out / "isos").mkdir(parents=True)
    (out / "isos" / "mine.html").write_text("mine")
    if text is not None:
        (out / "index.json").write_text(text)
    done = call("catalogue", shelf, "-o", out, code=3)
    assert "has other things in it than a catalogue" in errors(done)[0]
    assert hints(done)
    assert sorted(path.name for path in out.iterdir()) in [["index.json", "isos"], ["isos"]]


# --- written again ---


@pytest.fixture
def limited() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond some bytes, as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("largest", [1, 4], ids=["at once", "midway"])
def test_a_first_run_that_was_cut_short_goes_on(
    shelf: Path, site: Path, tmp_path: Path, limited: Callable[[int], None], largest: int
) -> None:
    sizes = sorted(path.stat().st_size for path in site.rglob("*") if path.is_file())
    out = tmp_path / "cut"
    limited(sizes[-largest] - 1 if largest > 1 else 10)
    call("catalogue", shelf, "-o", out, code=6)
    assert list(out.iterdir())
    assert not (out / "index.json").exists()
    assert not (out / "index.html").exists()
    limited(resource.RLIM_INFINITY)
    (out / "isos").mkdir(exist_ok=True)
    for name in (".catalogue-begun", "feed.json", "isos/a.html"):  # as kills leave them
        path = out / name
        path.with_name(f".{path.name}.abcd1234").touch()
    call("catalogue", shelf, "-o", out)
    assert content(out) == content(site)


def test_what_a_kill_left_before_anything_was_written_is_no_other_thing(
    shelf: Path, site: Path, tmp_path: Path
) -> None:
    (out := tmp_path / "killed").mkdir()
    (out / "..catalogue-begun.abcd1234").touch()
    call("catalogue", shelf, "-o", out)
    assert content(out) == content(site)


def content(site: Path) -> dict[str, bytes]:
    return {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in site.rglob("*")
        if path.is_file()
    }


def test_the_same_isos_give_the_same_site_wherever_they_are(
    shelf: Path, site: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(shelf, tmp_path / "elsewhere" / "isos")
    call("catalogue", other, "-o", tmp_path / "elsewhere" / "site")
    assert content(site) == content(tmp_path / "elsewhere" / "site")
    assert not [name for name, data in content(site).items() if str(tmp_path).encode() in data]


def test_the_day_and_the_machine_are_on_no_page(shelf: Path, site: Path, tmp_path: Path) -> None:
    """Written by a machine in Lima with another home, in another year where `faketime` is here."""
    other = tmp_path / "other"
    later = ["faketime", "-f", "@2034-05-06 07:08:09"] if shutil.which("faketime") else []
    env = {"TZ": "America/Lima", "LC_ALL": "ko_KR.UTF-8", "HOME": str(tmp_path)}
    words = command("catalogue", shelf, "--out", other)
    subprocess.run([*later, *words], env={**os.environ, **env, "PYTHONHASHSEED": "7"}, check=True)
    assert content(other) == content(site)


def test_a_site_is_brought_up_to_date(shelf: Path, site: Path) -> None:
    told = json.loads(call("catalogue", shelf, "-o", site, "--json").stdout)
    assert (told["changed"], told["isos"]) == (0, 5)
    for path in shelf.glob("*1.37.1*"):
        path.unlink()
    (site / "isos" / "notes.txt").write_text("mine")
    call("catalogue", shelf, "-o", site)
    assert not list(site.glob("isos/*1.37.1*"))
    assert (site / "isos" / "notes.txt").is_file()
    assert "1.37.1" not in (site / "index.html").read_text()


def test_a_hundred_isos_take_seconds_and_every_page_is_small(built: Built, tmp_path: Path) -> None:
    describe_many(built, tmp_path / "isos", 100)
    call("catalogue", tmp_path / "isos", "-o", tmp_path / "site")
    assert len(index(tmp_path / "site")["isos"]) == 100
    pages = [len(data) for name, data in content(tmp_path / "site").items() if "html" in name]
    assert max(pages) < 100_000


# --- servers ---


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMold]:
    cloud = Cloud(pace=Timing(allocated=0.01, downloading=0.02, installing=0.01, job=0.01))
    cloud.users = [CloudUser("admin", "Ak-lab-0123456789", "Sk-lab-9876543210", "password")]
    with FakeMold(cloud) as simulator:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"mold": {"lab": {"endpoint": simulator.endpoint}}}))
        monkeypatch.setenv("ISOBUILDER_CONFIG", str(path))
        monkeypatch.setenv("ISOBUILDER_MOLD_API_KEY", "Ak-lab-0123456789")
        monkeypatch.setenv("ISOBUILDER_MOLD_SECRET_KEY", "Sk-lab-9876543210")
        yield simulator


def test_what_a_server_has_is_told_when_asked_for(
    shelf: Path, built: Built, lab: FakeMold, tmp_path: Path
) -> None:
    with Web() as web:
        url = web.put(f"/{built.iso.name}", built.iso.read_bytes())
        register = ("mold", "register", built.iso, "--url", url, "--poll", "0.05s")
        call(*register, "--server", "lab")
    add_directly(lab.cloud, "1.36.1", name="by <b>hand</b>")
    call("catalogue", shelf, "-o", tmp_path / "site", "--server", "lab")
    found = page(tmp_path / "site", "index.html")
    assert {row[0]: row[7] for row in tables(found)[0][1:]} == {
        **dict.fromkeys(["1.37.1 r1", "1.35.0 r1", "1.34.12 r2", "1.34.9 r1"], "–"),
        "1.34.12 r1": "lab: Enabled",
    }
    upgrades = page(tmp_path / "site", "upgrades.html")
    assert tables(upgrades)[-1][1:] == [["lab", "by <b>hand</b>", "1.36.1"]]
    assert [one for one in index(tmp_path / "site")["isos"] if one["servers"]] == [
        next(one for one in index(tmp_path / "site")["isos"] if one["name"] == built.iso.stem)
    ]


def test_a_server_that_is_down_keeps_nobody_from_the_site(
    shelf: Path, lab: FakeMold, tmp_path: Path
) -> None:
    lab.close()
    call("catalogue", shelf, "-o", tmp_path / "site", "--server", "lab", code=4)
    assert (tmp_path / "site" / "index.html").is_file()


# --- both languages ---


@pytest.mark.parametrize("name", PAGES)
def test_every_text_of_the_site_is_there_in_both_languages(site: Path, name: str) -> None:
    body = page(site, name).find("body")[0]
    spans = [one for one in body.find("span") if "lang" in one.attributes]
    assert [one.attributes["lang"] for one in spans] == ["en", "ko"] * (len(spans) // 2)
    assert spans
    assert all(one.text.strip() for one in spans)
    for option in body.find("option"):
        assert ("data-en" in option.attributes) == ("data-ko" in option.attributes)


def test_pages_of_the_site_run_only_their_own_script(site: Path) -> None:
    for name in PAGES:
        found = page(site, name)
        [policy] = found.find("meta", http_equiv="Content-Security-Policy")
        assert "default-src 'none'" in policy.attributes["content"]
        assert "unsafe" not in policy.attributes["content"]
        assert not [one for one in found.walk() if {"src", "style"} & one.attributes.keys()]
