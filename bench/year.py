"""A year of releases carried as deltas and applied in one run: ``python -m bench.year PROGRAMS``.

PROGRAMS has a folder for each release with programs in it (``tools.lab.year`` makes them). Each
becomes an ISO of those alone, for nothing else of the year's ISOs is to be had here. A link leads
from each ISO to the next one; all of them together are applied to the first. ISOs and links are
kept in ``--links``, with what each took, and those that are there are not made again.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from bench import page, section
from bench.ground import PRODUCT, say
from bench.measure import Contender, Usage, clean_environment, run
from isobuilder.digest import Digest
from isobuilder.files import write_whole
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.store import Blob

_EPOCH = 1790183182  # 2026-09-23: no more than a time stamp that is always the same
_ALONE = (
    "import sys; sys.modules['numpy'] = None; from isobuilder.cli.main import main; "
    "main(sys.argv[1:])"
)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


@dataclass(frozen=True, slots=True)
class _Link:
    """What leads from one release to the next."""

    old: str
    new: str
    path: Path
    made: Usage

    @property
    def minor(self) -> bool:
        return _numbers(self.old)[:2] != _numbers(self.new)[:2]


def main() -> int:
    """Return the exit code: 0 if the last ISO came out of the first one."""
    parser = section.parser("bench.year", __doc__, space="4 GB")
    parser.add_argument("programs", type=Path, help="VERSION/kubeadm ... for each release")
    parser.add_argument("--links", type=Path, required=True, help="where ISOs and deltas are kept")
    options = parser.parse_args()
    return section.measured(page.YEAR, options, lambda folder: _measure(options, folder))


def _measure(options: Namespace, folder: Path) -> str:
    kept: Path = options.links
    kept.mkdir(parents=True, exist_ok=True)
    found = (one.name for one in options.programs.iterdir() if not one.name.startswith("."))
    versions = sorted(found, key=_numbers)
    isos = [_iso(options.programs / version, kept) for version in versions]
    environment = clean_environment(folder / "home")
    links = [_link(a, b, folder, environment) for a, b in pairwise(isos)]
    words: list[str | Path] = [isos[0], *(link.path for link in links)]
    words += ["--digest", str(Digest.of_file(isos[-1])), "--out", folder / "made.iso"]
    ways: dict[str, list[str | Path]] = {
        "applied in one run": [PRODUCT],
        "the same without numpy": [sys.executable, "-c", _ALONE],
    }
    applied = {}
    for name, program in ways.items():
        say(name)
        contender = Contender(name, [*program, "site", "apply", *words])
        applied[name] = run(contender, environment=environment, log=folder / "log")
        (folder / "made.iso").unlink()
    return "\n".join(_told(versions, links, isos, applied))


def _iso(programs: Path, kept: Path) -> Path:
    target = kept / f"{programs.name}.iso"
    if not target.exists():
        files = [path for path in sorted(programs.iterdir()) if not path.name.startswith(".")]
        blobs = [Blob(Digest.of_file(path), path.stat().st_size, path) for path in files]
        entries = [IsoEntry(f"bin/{blob.path.name}", 0o755, (blob,)) for blob in blobs]
        write_iso(entries, target, label="KUBERNETES", epoch=_EPOCH)
    return target


def _link(old: Path, new: Path, folder: Path, environment: dict[str, str]) -> _Link:
    path = new.with_name(f"{old.stem}-{new.stem}.delta")
    told = path.with_suffix(".json")
    if not told.exists():
        say(f"{old.stem} -> {new.stem}")
        words: list[str | Path] = [PRODUCT, "site", "delta", old, new, "--out", path]
        used = run(Contender(path.name, words), environment=environment, log=folder / "log")
        write_whole(told, json.dumps(asdict(used)).encode())
    return _Link(old.stem, new.stem, path, Usage(**json.loads(told.read_bytes())))


def _told(
    versions: list[str], links: list[_Link], isos: list[Path], applied: dict[str, Usage]
) -> Iterator[str]:
    sizes = {link: link.path.stat().st_size for link in links}
    last = isos[-1].stat().st_size
    minors = sum(link.minor for link in links)
    yield (
        f"The node programs of {len(versions)} releases, {versions[0]} to {versions[-1]}, built "
        "from the modules of upstream's releases by one Go; each release is an ISO of these alone "
        f"({last:,} bytes for the last one). {len(links)} links lead from each to the next, "
        f"{minors} of them to another minor release, and are applied to the first ISO in one run."
    )
    rows = [("Link", "bytes", "of the ISO", "made in, CPU s", "peak, MiB")]
    for link, size in sizes.items():
        name = f"{link.old} -> {link.new}" + (", minor" if link.minor else "")
        of_iso = f"{100 * size / isos[versions.index(link.new)].stat().st_size:.3f} %"
        rows.append((name, f"{size:,}", of_iso, f"{link.made.cpu:.0f}", f"{link.made.peak:.0f}"))
    total = sum(sizes.values())
    patches = sum(size for link, size in sizes.items() if not link.minor)
    cpu, peak = sum(link.made.cpu for link in links), max(link.made.peak for link in links)
    of_all = f"{100 * total / sum(iso.stat().st_size for iso in isos[1:]):.3f} % of all"
    rows.append(("**all**", f"**{total:,}**", of_all, f"{cpu:.0f}", f"{peak:.0f}"))
    yield f"\n{page.table(rows)}"
    yield f"\nThe {len(links) - minors} patches are {patches:,} bytes of it."
    took = [(n, f"{u.wall:.0f}", f"{u.cpu:.0f}", f"{u.peak:.0f}") for n, u in applied.items()]
    yield f"\n{page.table([('', 'wall, s', 'CPU, s', 'peak, MiB'), *took])}"
    yield f"\nThe digest is that of the last ISO. {section.load()}"


if __name__ == "__main__":
    sys.exit(main())
