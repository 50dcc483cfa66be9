"""A catalogue -> a folder that any web server shows, or a browser opens from a disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from isobuilder.documents.json import DOCUMENT, parse
from isobuilder.errors import InputError
from isobuilder.files import as_environment_problem, is_file, read_bytes, write_whole
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
    should be is not written again, and pages of ISOs that are gone are taken away.

    Raises:
        InputError: the folder has other things in it.
        EnvironmentProblem: it cannot be written.
    """
    _refuse_others(out)
    made: dict[str, Callable[[], bytes]] = {
        "index.html": lambda: index_page(catalogue, language),
        "compare.html": lambda: compare_page(catalogue, language),
        "calendar.html": lambda: calendar_page(catalogue, language),
        "upgrades.html": lambda: upgrades_page(catalogue, language),
        "feed.atom": lambda: atom_feed(catalogue, address),
        "feed.json": lambda: json_feed(catalogue, address),
        INDEX: lambda: index_json(catalogue),
    }
    changed = 0
    with task(progress, "writing", total=len(catalogue.entries), unit="pages") as work:
        for entry in catalogue.entries:
            changed += _write(out / entry.page, _iso_page(catalogue, entry, language))
            changed += _write(out / _ISOS / f"{entry.name}.js", compare_data(entry))
            work.advance(1)
    for name, make in made.items():
        changed += _write(out / name, make())
    return changed + _remove_others(out / _ISOS, {entry.name for entry in catalogue.entries})


def _iso_page(catalogue: IsoCatalogue, entry: CatalogueEntry, language: Language) -> bytes:
    older = catalogue.before(entry)
    subject = replace(entry.subject, before=older.subject.contents if older else None)
    return report(subject, language=language, rules=catalogue.rules, home="../index.html")


def _write(path: Path, data: bytes) -> bool:
    with as_environment_problem(path):
        if is_file(path) and path.stat().st_size == len(data) and path.read_bytes() == data:
            return False
    write_whole(path, data)
    return True


def _refuse_others(out: Path) -> None:
    """Refuse a folder that is neither new nor empty nor a catalogue."""
    with as_environment_problem(out):
        if not out.exists() or not any(out.iterdir()):
            return
    try:
        known = parse(read_bytes(out / INDEX, DOCUMENT.size), INDEX, DOCUMENT)
    except InputError:
        known = None
    if not isinstance(known, dict) or "rules_as_of" not in known:
        raise InputError(
            f"{out}: has other things in it than a catalogue",
            hint="name a new folder, or one that an earlier isobuilder catalogue wrote",
        )


def _remove_others(folder: Path, names: set[str]) -> int:
    with as_environment_problem(folder):
        gone = [
            path
            for path in folder.iterdir()
            if _OURS.fullmatch(path.name) and path.name.rpartition(".")[0] not in names
        ]
        for path in gone:
            path.unlink()
    return len(gone)
