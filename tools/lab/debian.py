"""Debian packages for the lab, from the mirror this machine already uses.

apt does the fetching and the checking of signatures and hashes, with lists and a cache of the
lab's own: nothing is added to the machine's sources and nothing is installed on it.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.lab.place import LabError, remove, run, say

ETC_APT = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
NEEDED = {  # program -> package of the machine itself
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "setpriv": "util-linux",
    "xz": "xz-utils",
}
_SUITE = re.compile(
    r"(oldoldstable|oldstable|stable|testing|unstable|sid|bullseye|bookworm|trixie|forky)"
    r"(-(updates|security|backports))?"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One line of the machine's apt configuration."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Where this machine gets Debian from."""

    archive: str
    security: str | None
    signed_by: str


def host_sources(etc: Path = ETC_APT) -> list[Source]:
    """Return the binary sources of the machine's apt configuration, in both of its formats."""
    parts = etc / "sources.list.d"
    found: list[Source] = []
    for path in [etc / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            found += _one_line_style(path.read_text(errors="replace"))
    for path in sorted(parts.glob("*.sources")):
        found += _deb822_style(path.read_text(errors="replace"))
    return found


def _one_line_style(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = re.fullmatch(
            r"deb\s+(?:\[(?P<options>[^]]*)]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<rest>.*)",
            line.split("#", 1)[0].strip(),
        )
        if match:
            options = dict(
                word.split("=", 1) for word in (match["options"] or "").split() if "=" in word
            )
            yield Source(
                match["uri"],
                match["suite"],
                tuple(match["rest"].split()),
                options.get("signed-by"),
            )


def _deb822_style(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(
                    uri,
                    suite,
                    tuple(fields.get("components", "").split()),
                    fields.get("signed-by"),
                )


def mirrors(sources: Sequence[Source]) -> Mirrors:
    """Return the mirrors of Debian's archive and security updates among ``sources``.

    Raises:
        LabError: the machine has no Debian source, or no keyring to check one with.
    """
    debian = [s for s in sources if "main" in s.components and _SUITE.fullmatch(s.suite)]
    archive = next((s for s in debian if not s.suite.endswith("-security")), None)
    security = next((s for s in debian if s.suite.endswith("-security")), None)
    named = os.environ.get("ISOBUILDER_LAB_MIRROR")
    if not named and archive is None:
        raise LabError(
            "no Debian mirror in this machine's apt configuration\n"
            "hint: set ISOBUILDER_LAB_MIRROR to the address of one"
        )
    keyring = archive.signed_by if archive and not named else None
    if not keyring or not keyring.startswith("/"):
        keyring = str(KEYRING)
    if not Path(keyring).is_file():
        raise LabError(f"{keyring}: missing\nhint: apt-get install debian-archive-keyring")
    return Mirrors(
        archive=named or (archive.uri if archive else ""),
        security=security.uri if security and not named else None,
        signed_by=keyring,
    )


def check_machine() -> None:
    """Make sure the few programs the lab needs are there, installing them if we are root.

    Raises:
        LabError: the machine is not a 64-bit PC, or a package is missing and we are not root.
    """
    if platform.machine() != "x86_64":
        raise LabError(f"the lab's parts are amd64, this machine is {platform.machine()}")
    missing = sorted({package for program, package in NEEDED.items() if not _found(program)})
    if not KEYRING.is_file():
        missing.append("debian-archive-keyring")
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not _found("apt-get"):
        raise LabError(f"missing Debian packages: {' '.join(missing)}\nhint: {' '.join(command)}")
    say(" ".join(command))
    run(["apt-get", "update"], timeout=300)
    run(command, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=600)


def _found(program: str) -> bool:
    return any(
        os.access(Path(folder) / program, os.X_OK)
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
    )


class Apt:
    """apt for one Debian suite, with lists and a cache in ``root`` and the machine's mirror."""

    def __init__(self, root: Path, suite: str, architecture: str = "amd64") -> None:
        self.root = root / (suite if architecture == "amd64" else f"{suite}-{architecture}")
        self.suite = suite
        self.architecture = architecture
        self._updated = False

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Fetch the newest .deb of each package and return them in that order.

        Raises:
            LabError: a package is unknown to the suite, or the mirror does not answer.
        """
        self._update()
        into.mkdir(parents=True, exist_ok=True)
        run([*self._command("apt-get"), "download", *packages], cwd=into, timeout=900)
        found = []
        for package in packages:
            candidates = list(into.glob(f"{package}_*.deb"))
            if len(candidates) != 1:
                raise LabError(f"{into}: {len(candidates)} files of package {package}, expected 1")
            found += candidates
        return found

    def unpack(self, packages: Sequence[str], tree: Path) -> dict[str, str]:
        """Unpack packages into ``tree`` without installing them; return their versions."""
        debs = tree.with_name(f"{tree.name}.debs")
        remove(debs)  # of an interrupted run
        versions = {}
        for package, deb in zip(packages, self.download(packages, debs), strict=True):
            run(["dpkg-deb", "-x", deb, tree])
            versions[package] = run(["dpkg-deb", "-f", deb, "Version"]).strip()
        remove(debs)
        return versions

    def _command(self, program: str) -> list[str]:
        options = {
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::Cache": str(self.root / "cache"),
            "Dir::Etc::SourceList": str(self.root / "sources.list"),
            "Dir::Etc::SourceParts": str(self.root / "empty"),
            "Dir::State": str(self.root / "state"),
            "Dir::State::status": str(self.root / "status"),
        }
        return [program, "-q", *(f"-o{key}={value}" for key, value in options.items())]

    def _update(self) -> None:
        if self._updated:
            return
        where = mirrors(host_sources())
        suites = [(where.archive, self.suite)]
        if self.suite not in {"sid", "unstable", "testing", "forky"}:
            suites.append((where.archive, f"{self.suite}-updates"))
            if where.security:
                suites.append((where.security, f"{self.suite}-security"))
        for folder in ("cache/archives/partial", "state/lists/partial", "empty"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").write_text("")
        (self.root / "sources.list").write_text(
            "".join(
                f"{kind} [signed-by={where.signed_by}] {uri} {suite} main\n"
                for uri, suite in suites
                for kind in ("deb", "deb-src")
            )
        )
        say(f"apt lists of {self.suite} ...")
        run([*self._command("apt-get"), "update"], timeout=600)
        self._updated = True
