"""Print the table of docs/proof.md, of what the locks name; ``--write`` puts it there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from tools.lab import catalogue, kubernetes, parts
from tools.lab.rebuild import RELEASED
from tools.tables import DOCS, Table

PROJECT = Path(__file__).parents[1]

BYTES, SOURCE, STAND_IN, NEVER = "bytes", "source", "stand-in", "never"

_OWN = {program.digest for program in RELEASED if program.architecture == "amd64"}
_EARLIER = {
    name.rpartition("-")[0]: name.rpartition("-")[2]
    for names in parts.EARLIER.values()
    for name in names
}
_BUILT = {  # what the lab compiles, by the name it has in a lock -> versions
    **{program: {*kubernetes.RELEASES} for program in kubernetes.PROGRAMS},
    "cni-plugins": {parts.CNI_PLUGINS},
    "containerd": {parts.CONTAINERD},
    "coredns": {parts.COREDNS, _EARLIER["coredns"]},
    "crictl": {parts.CRICTL},
    "etcd": {parts.ETCD, _EARLIER["etcd"]},
    "runc": {parts.RUNC},
}
_STAND_INS = {
    "pause",
    *(image.reference.split("/")[-1].split(":")[0] for image in catalogue.STAND_INS),
}
_STAND_INS |= {"headlamp", "provider"}  # manifests of the lab's own
_VERSION = re.compile(r"/v?([0-9]+\.[0-9]+\.[0-9]+)(?:/|$)|:v?([0-9]+\.[0-9]+\.[0-9]+)")


def table() -> str:
    """Return a row for each file, image and manifest, a column for each shipped version."""
    locks = [load_lock(path) for path in (PROJECT / "recipes").glob("*.lock.json")]
    locks.sort(key=lambda lock: (lock.kubernetes.minor, lock.kubernetes.patch))
    columns = [dict(_proofs(lock)) for lock in locks]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [["", *(str(lock.kubernetes) for lock in locks)], ["---"] * (len(locks) + 1)]
    rows += [[f"`{name}`", *(column.get(name, "") for column in columns)] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _proofs(lock: Lock) -> Iterator[tuple[str, str]]:
    """Yield what each thing in a lock is called in the table, and what was proved of it."""
    for file in lock.files:
        known = BYTES if file.sha256.hex in _OWN else _proof(file.name, file.url)
        yield file.path, known
    for manifest in lock.manifests:
        yield manifest.path, _proof(manifest.name, manifest.url)
    for image in lock.images:
        repository = image.reference.rpartition(":")[0]
        yield repository, _proof(repository.rpartition("/")[2], image.reference)


def _proof(name: str, place: str) -> str:
    if name in _STAND_INS:
        return STAND_IN
    found = _VERSION.search(place)
    version = (found[1] or found[2]) if found else None
    return SOURCE if version in _BUILT.get(name, ()) else NEVER


TABLE = Table("proof", DOCS / "proof.md", table)

if __name__ == "__main__":
    TABLE.main()
