"""Make a web site of the documentation, with zensical, from the pages as they stand.

docs/README.md and docs/ko/README.md are its navigation; links between pages are those that a code
host shows. Every link within the site is followed afterwards.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PROJECT = Path(__file__).resolve().parents[1]
# Pages and files outside docs/ to which pages lead.
BESIDE = (
    *("README.md", "README.ko.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("bench/RESULTS.md", "tools/lab/README.md"),
)
KOREAN = "한국어"


def main() -> None:
    """Build it and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROJECT / "build" / "site")
    out = parser.parse_args().out.absolute()
    build(out)
    if wrong := list(dead_links(out)):
        sys.exit("\n".join(["error: links that lead nowhere:", *wrong]))
    print(out / "index.html")


def build(out: Path) -> None:
    """Write the site into ``out``, in place of what is there."""
    scratch = out.parent / "site-pages"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    pages = scratch / "pages"
    shutil.copytree(PROJECT / "docs", pages / "docs")
    for name in (*BESIDE, *named_files()):
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, pages / name)
    (scratch / "zensical.toml").write_text(settings(), encoding="utf-8")
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [program, "build", "--clean"], cwd=scratch, check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"error: zensical: {done.stdout}{done.stderr}")
    (scratch / "site").rename(out)
    for page in out.rglob("docs/ko/**/*.html"):
        text = page.read_text(encoding="utf-8").replace('<html lang="en"', '<html lang="ko"', 1)
        page.write_text(text, encoding="utf-8")


def named_files() -> Iterator[str]:
    """Give the files of the project, other than pages, to which pages lead."""
    for page in (*(PROJECT / "docs").rglob("*.md"), *(PROJECT / name for name in BESIDE)):
        for target in re.findall(r"\]\(([^)#:\s]+)\)", page.read_text(encoding="utf-8")):
            place = (page.parent / target).resolve()
            if place.is_file() and place.suffix != ".md" and place.is_relative_to(PROJECT):
                yield place.relative_to(PROJECT).as_posix()


def settings() -> str:
    """Return the settings of zensical: no font, script or counter of anybody else's server."""
    project = {
        "site_name": "isobuilder",
        "site_description": "Turn a Kubernetes version into an ISO that a cloud can run",
        "docs_dir": "pages",
        "site_dir": "site",
        "use_directory_urls": False,
        "nav": navigation(),
    }
    lines = ["[project]", *(f"{key} = {_toml(value)}" for key, value in project.items())]
    lines += ["[project.theme]", 'language = "en"', "font = false"]
    lines += ['features = ["navigation.sections", "navigation.top", "toc.follow"]']
    for scheme, query, icon, name in (
        ("default", "light", "lucide/sun", "dark"),
        ("slate", "dark", "lucide/moon", "light"),
    ):
        lines += ["[[project.theme.palette]]", f'media = "(prefers-color-scheme: {query})"']
        lines += [f'scheme = "{scheme}"', f'toggle.icon = "{icon}"']
        lines += [f'toggle.name = "Use the {name} colours"']
    lines += ["[project.plugins.offline]", "[project.markdown_extensions.toc]"]
    # As a code host does: titles in Korean have names too.
    lines += ['slugify = { object = "pymdownx.slugs.slugify", kwds = { case = "lower" } }']
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(k)} = {_toml(v)}' for k, v in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def navigation() -> list[Any]:
    """Return what the site's menu has: the sections of the index, with their pages."""
    sections: list[Any] = [{"isobuilder": "README.md"}]
    for title, pages in index(PROJECT / "docs" / "README.md").items():
        sections.append({title: [{name: place} for name, place in pages]})
    korean = index(PROJECT / "docs" / "ko" / "README.md")
    sections.append({KOREAN: [{n: p} for pages in korean.values() for n, p in pages]})
    return sections


def index(page: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the entries of an index page by its headings, each with its place in the project."""
    found: dict[str, list[tuple[str, str]]] = {}
    title = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            title = line.lstrip("# ")
        elif match := re.match(r"- \[(.+?)\]\(([^)]+)\)", line):
            place = (page.parent / match[2]).resolve()
            listed = sorted(place.glob("*.md")) if place.is_dir() else [place]
            for one in listed:
                name = match[1] if one is place else one.stem
                found.setdefault(title, []).append((name, one.relative_to(PROJECT).as_posix()))
    return found


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.targets += [text for key in ("href", "src") if (text := told.get(key))]
        self.names |= {text for key in ("id", "name") if (text := told.get(key))}


def dead_links(site: Path) -> Iterator[str]:
    """Give the links of a site's pages that lead to no page or part of it."""
    read: dict[Path, _Links] = {}
    for page in sorted(site.rglob("*.html")):
        read[page] = _Links()
        read[page].feed(page.read_text(encoding="utf-8"))
    for page, links in read.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            place = place / "index.html" if place.is_dir() else place
            known = read[place].names if place in read else None
            missing = known is not None and parts.fragment and unquote(parts.fragment) not in known
            if not place.exists() or missing:
                yield f"{page.relative_to(site)}: {target}"


if __name__ == "__main__":
    main()
