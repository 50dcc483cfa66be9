"""The whole way from a recipe to a checked ISO, on the embedded upstream and without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isobuilder.demo.content import KUBERNETES, fill, write_recipes
from isobuilder.demo.trial import Rehearsal, rehearse
from isobuilder.demo.upstream import DemoUpstream
from isobuilder.errors import IntegrityError
from isobuilder.files import write_whole
from isobuilder.model.config import Config
from isobuilder.pipeline.build import Built, build
from isobuilder.pipeline.fetch import DownloadPlan, fetch, plan
from isobuilder.pipeline.lock import LockFile, lock_recipe
from isobuilder.pipeline.verify import Verification, verify
from isobuilder.progress import SILENT, Progress
from isobuilder.report.page import write_report
from isobuilder.sources.session import open_session
from isobuilder.store import Store


@dataclass(frozen=True, slots=True)
class Tour:
    """What the demonstration made, and where it is."""

    recipe: Path
    lock: LockFile
    plan: DownloadPlan
    built: Built
    verification: Verification
    rehearsal: Rehearsal


@contextmanager
def embedded_upstream(out: Path, *, port: int = 0) -> Iterator[Config]:
    """Serve the stand-in release on loopback and give the settings that lead there.

    The settings are also written to ``out/config.yaml``, the recipes beside it; the addresses hold
    as long as the block lasts. Port 0 is any free one.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    with DemoUpstream(port=port) as upstream:
        fill(upstream)
        config = Config(mirrors=upstream.mirrors, store=str(out / "store"))
        # JSON is YAML, and quotes every address as it should be.
        mirrors = {origin: list(places) for origin, places in upstream.mirrors.items()}
        text = json.dumps({"mirrors": mirrors, "store": "store"}, indent=2)  # beside the file
        write_whole(out / "config.yaml", f"{text}\n".encode())
        write_recipes(out)
        yield config


def tour(out: Path, *, progress: Progress = SILENT) -> Tour:
    """Lock, plan, fetch, build, verify and register the demonstration's recipe in ``out``.

    Registering goes to a simulator of Mold, which ends with the tour.

    Raises:
        IntegrityError: the ISO that was just built does not pass.
        MoldError: it did not become Ready on the simulator.
    """
    with embedded_upstream(out) as config:
        recipe = out / f"kubernetes-{KUBERNETES}.yaml"
        store = Store(out / "store")
        with open_session(config, store, progress=progress) as session:
            lock = lock_recipe(recipe, "amd64", session)
            planned = plan(lock.lock, store)
            fetch([lock.lock], session)
            built = build(lock.lock, out, session, replace=True)
    verification = verified(built, progress=progress)
    write_report(built)
    progress.step("registering with a simulator of Mold")
    rehearsal = rehearse(built.iso, progress=progress)
    return Tour(recipe, lock, planned, built, verification, rehearsal)


def verified(built: Built, *, progress: Progress = SILENT) -> Verification:
    """Return what verifying the ISO just built found.

    Raises:
        IntegrityError: it does not pass.
    """
    found = verify(built.iso, lock=built.lock, expected=built.digest, progress=progress)
    if not found.passed:
        raise IntegrityError(*map(str, found.findings))
    return found
