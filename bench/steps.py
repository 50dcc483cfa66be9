"""Parts of the product that have no command of their own, each run as a process.

``steps.py pull LOCK CONFIG STORE``: bring the images of a lock into a store, and nothing else.
``steps.py libraries TARGET ARG...``: run the product, then write a program that imports whatever
was imported of others: the least that any run of this Python costs.
``steps.py write FOLDER TARGET``: write an ISO of the files in a folder's folders. No recipe has
20,000 files, so this calls the writer itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def pull(lock_path: Path, config_path: Path, root: Path) -> None:
    """Bring the images of a lock into a store."""
    from isobuilder.model.config import load_config
    from isobuilder.model.loading import load_lock
    from isobuilder.pipeline.fetch import fetch
    from isobuilder.sources.session import open_session
    from isobuilder.store import Store

    lock = load_lock(lock_path)
    config, _ = load_config(config_path, {}, {})
    images = lock.model_copy(update={"files": (), "manifests": (), "boot": None})
    store = Store(root)
    with open_session(config, store) as session:
        fetch([images], session)


def write(folder: Path, target: Path) -> None:
    """Write an ISO of a folder; files stand for blobs, whose digest the writer never looks at."""
    from isobuilder.digest import Digest
    from isobuilder.iso.write.entries import IsoEntry
    from isobuilder.iso.write.writer import write_iso
    from isobuilder.store import Blob

    unknown = Digest.of(b"")
    entries = [
        IsoEntry(
            f"{inner.name}/{file.name}",
            0o644,
            (Blob(unknown, file.stat().st_size, Path(file.path)),),
        )
        for inner in os.scandir(folder)
        for file in os.scandir(inner)
    ]
    write_iso(entries, target, label="CDROM", epoch=0)


def libraries(target: Path, words: list[str]) -> None:
    """Run the product and write a program that imports what was imported of others."""
    from isobuilder.cli import main

    main(words, standalone_mode=False)
    ours = ("isobuilder", "bench", "__main__")
    names = [name for name in sys.modules if name.partition(".")[0] not in ours]
    lines = [
        "from contextlib import suppress",
        "from importlib import import_module",
        f"for name in {names!r}:",
        "    with suppress(ImportError):",
        "        import_module(name)",
    ]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    step, *paths = sys.argv[1:]
    if step == "pull":
        pull(*map(Path, paths))
    elif step == "libraries":
        libraries(Path(paths[0]), paths[1:])
    else:
        write(*map(Path, paths))
