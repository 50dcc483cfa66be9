"""What a released program says of how it was built: enough to build it again."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO

from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import IntegrityError
from isobuilder.formats.elf import inspect_binary
from isobuilder.formats.kube import KubeVersion
from isobuilder.text import moment_of

_DATE = re.compile(
    rb"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z(?=\x00)"
)  # as the linker puts it in
_OVERLAP = 32  # bytes
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Stamps:
    """One build of one program, in its own words."""

    version: str  # of the project, without v
    go: str  # e.g. 1.26.8
    architecture: str
    commit: str
    committed: str  # RFC 3339
    date: str  # RFC 3339, of the build

    @property
    def seconds(self) -> int:
        """When it was committed, since 1970-01-01 UTC."""
        moment = moment_of(self.committed)
        return 0 if moment is None else int(moment.timestamp())

    def values(self) -> dict[str, str]:
        """Return the variables that the linker is given."""
        major, minor = self.version.split(".")[:2]
        return {
            "buildDate": self.date,
            "gitCommit": self.commit,
            "gitTreeState": "clean",
            "gitVersion": f"v{self.version}",
            "gitMajor": major,
            "gitMinor": minor,
        }


def read_stamps(stream: BinaryIO, place: str) -> Stamps:
    """Return the stamps of a program of Kubernetes.

    Raises:
        IntegrityError: it is no such program, or does not say enough.
    """
    facts = inspect_binary(stream, place)
    said = {
        "version": facts.kubernetes_version,
        "Go": (facts.go_version or "").partition(" ")[0].removeprefix("go"),
        "vcs.revision": facts.settings.get("vcs.revision"),
        "vcs.time": facts.settings.get("vcs.time"),
        "date of the build": _date(stream),
    }
    missing = [name for name, value in said.items() if not value]
    if missing:
        raise IntegrityError(f"{place}: does not say its {', '.join(missing)}")
    version, go, commit, committed, date = (str(value) for value in said.values())
    try:
        KubeVersion(version)
    except ValueError as error:
        raise IntegrityError(f"{place}: {error}") from error
    sound = _COMMIT.fullmatch(commit) and re.fullmatch(r"1\.[0-9]+(\.[0-9]+)?", go)
    if not sound or moment_of(committed) is None:
        raise IntegrityError(f"{place}: its stamps make no sense: Go {go[:40]}, {commit[:60]}")
    return Stamps(version, go, facts.architecture, commit, committed, date)


def _date(stream: BinaryIO) -> str | None:
    """Return the date that stands in both copies of the version's variables."""
    found: Counter[bytes] = Counter()
    stream.seek(0)
    kept = b""
    while chunk := stream.read(BUFFER_SIZE):
        window = kept + chunk
        # What begins in the last bytes is left for the next window.
        end = len(window) - _OVERLAP
        found.update(m[0] for m in _DATE.finditer(window) if m.start() < end)
        kept = window[max(end, 0) :]
    found.update(match[0] for match in _DATE.finditer(kept))
    best = found.most_common(2)
    if len(best) == 1 or (len(best) == 2 and best[0][1] > best[1][1]):
        return best[0][0].decode("ascii")
    return None
