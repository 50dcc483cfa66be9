"""A catalogue -> a folder that any web server shows, or a browser opens from a disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from isobuilder.documents.json import DOCUMENT, parse
from isobuilder.errors import InputError
from isobuilder.files import (
    as_environment_problem,
    clear_scratch,
    holds,
    is_file,
    read_bytes,
    write_whole,
)
from isobuilder.progress import SILENT, Progress, task
from isobuilder.report.catalogue import CatalogueEntry, IsoCatalogue
from isobuilder.report.feeds import atom_feed, index_json, json_feed
from isobuilder.report.overview import (
    calendar_page,
    compare_data,
    compare_page,
    index_page,
    upgrades_page,
)
from isobuilder.report.page import report
from isobuilder.report.rendering import Language

INDEX = "index.json"
_BEGUN = ".catalogue-begun"  # there until the first run has ended: by it the next one goes on
_ISOS = "isos"
_OURS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,240}\.(html|js)")


def write_catalogue(
    catalogue: IsoCatalogue,
    out: Path,
    *,
    language: Language = "en",
    address: str = "",
    progress: Progress = SILENT,
) -> int:
    """Write the site into the folder ``out`` and return how many of its files changed.

    ``address`` is where it will be, for feeds. The same ISOs give the same bytes; what is as it
    should be is not written again, and pages of ISOs that are gone are taken away. After a run
    that was cut short the same call goes on; until then a new site has no ``index.json``.

    Raises:
        InputError: the folder has other things in it.
        EnvironmentProblem: it cannot be written.
    """
    _begin(out)
    made: dict[str, Callable[[], bytes]] = {
        "compare.html": lambda: compare_page(catalogue, language),
        "calendar.html": lambda: calendar_page(catalogue, language),
        "upgrades.html": lambda: upgrades_page(catalogue, language),
        "feed.atom": lambda: atom_feed(catalogue, address),
        "feed.json": lambda: json_feed(catalogue, address),
        "index.html": lambda: index_page(catalogue, language),
        INDEX: lambda: index_json(catalogue),
    }
    clear_scratch(out, made.__contains__)
    clear_scratch(out / _ISOS, _OURS.fullmatch)
    changed = 0
    with task(progress, "writing", total=len(catalogue.entries), unit="pages") as work:
        for entry in catalogue.entries:
            changed += _write(out / entry.page, _iso_page(catalogue, entry, language))
            changed += _write(out / _ISOS / f"{entry.name}.js", compare_data(entry))
            work.advance(1)
    for name, make in made.items():
        changed += _write(out / name, make())
    changed += _remove_others(out / _ISOS, {entry.name for entry in catalogue.entries})
    with as_environment_problem(out):
        (out / _BEGUN).unlink(missing_ok=True)
    return changed


def _iso_page(catalogue: IsoCatalogue, entry: CatalogueEntry, language: Language) -> bytes:
    older = catalogue.before(entry)
    subject = replace(entry.subject, before=older.subject.contents if older else None)
    return report(subject, language=language, rules=catalogue.rules, home="../index.html")


def _write(path: Path, data: bytes) -> bool:
    if holds(path, data):
        return False
    write_whole(path, data)
    return True


def _begin(out: Path) -> None:
    """Mark a folder that is new or empty as a catalogue to be, and refuse one of other things."""
    clear_scratch(out, _BEGUN.__eq__)
    with as_environment_problem(out):
        if not out.exists() or not any(out.iterdir()):
            write_whole(out / _BEGUN, b"")
            return
    if not is_file(out / _BEGUN) and not _is_catalogue(out):
        raise InputError(
            f"{out}: has other things in it than a catalogue",
            hint="name a new folder, or one that an earlier isobuilder catalogue wrote",
        )


def _is_catalogue(out: Path) -> bool:
    try:
        known = parse(read_bytes(out / INDEX, DOCUMENT.size), INDEX, DOCUMENT)
    except InputError:
        return False
    return isinstance(known, dict) and "rules_as_of" in known


def _remove_others(folder: Path, names: set[str]) -> int:
    with as_environment_problem(folder):
        if not folder.exists():  # no ISO was ever written about
            return 0
        gone = [
            path
            for path in folder.iterdir()
            if _OURS.fullmatch(path.name) and path.name.rpartition(".")[0] not in names
        ]
        for path in gone:
            path.unlink()
    return len(gone)
