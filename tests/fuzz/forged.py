"""ISOs of which somebody changed files and then everything that describes them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from isobuilder.errors import IsobuilderError
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.model.loading import load_lock
from tests.fuzz.mutation import Chance, times
from tests.fuzz.samples import Samples
from tests.fuzz.shapes import edited_file
from tests.pipeline.forging import FILE_CHANGES, Contents


@cache
def _contents(iso: Path) -> Contents:
    return Contents.of(iso)


def forged(samples: Samples, number: int, chance: Chance) -> bytes:
    """Return the ISO of that number with a few other files; most describe themselves rightly."""
    good = _contents(samples.folder / f"{number}.iso")
    contents = Contents(dict(good.files), dict(good.modes))
    for _ in range(times(chance, 3)):
        if chance.random() < 0.25:
            chance.choice(FILE_CHANGES)(contents, chance)
        else:
            path = chance.choice(sorted(contents.files))
            contents.files[path] = edited_file(path, contents.files[path], chance)
    if chance.random() < 0.7:
        kept = contents.files.get("manifest.json")
        try:
            contents.mend()
        except (TypeError, AttributeError, KeyError):  # a manifest that is beyond mending
            if kept is not None:
                contents.files["manifest.json"] = kept
    epoch = load_lock(samples.folder / f"{number}.lock.json").epoch
    entries = [
        IsoEntry(path, contents.modes.get(path, 0o444), (data,) if data else ())
        for path, data in contents.files.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "x.iso"
        try:
            write_iso(entries, target, label="CDROM", epoch=epoch)
        except IsobuilderError:  # the writer knows better
            return samples.isos[number]
        return target.read_bytes()
