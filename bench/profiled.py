"""Run the product and tell where its threads are: ``profiled.py RESULT ARG...``.

A thread looks at all others every few milliseconds. Time in C code that runs without the
interpreter's lock (hashing, reading, writing, waiting) counts for the line that called it.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

from isobuilder.cli import main as product

_EVERY = 0.004  # seconds
_SHOWN = 14  # lines


def _place(frame: FrameType) -> str:
    """Return the innermost function of the product, and what it calls if that is not ours."""
    inner, ours = frame, frame
    while "/isobuilder/" not in ours.f_code.co_filename and ours.f_back is not None:
        ours = ours.f_back
    before, product_path, file = ours.f_code.co_filename.rpartition("/isobuilder/")
    if not product_path:  # a thread of a library's own: its file's name says enough
        file = Path(file or before).name
    text = f"{file}:{ours.f_lineno} {ours.f_code.co_name}"
    if inner is not ours:
        text += f" > {inner.f_code.co_name}"
    return text


def _watch(seen: Counter[str], stop: threading.Event) -> None:
    own = threading.get_ident()
    while not stop.wait(_EVERY):
        names = {thread.ident: thread.name.split(" ")[0] for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident != own:
                seen[f"{names.get(ident, '?'):<12} {_place(frame)}"] += 1
        seen[""] += 1


def main() -> None:
    """Run it and write the report."""
    result, *words = sys.argv[1:]
    seen: Counter[str] = Counter()
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(seen, stop), daemon=True)
    watcher.start()
    try:
        product(words, standalone_mode=False)
    finally:
        stop.set()
        watcher.join()
        looks = seen.pop("", 1) or 1
        lines = [f"{count / looks:6.1%}  {place}" for place, count in seen.most_common(_SHOWN)]
        Path(result).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
