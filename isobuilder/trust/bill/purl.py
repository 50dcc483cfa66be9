"""Package URLs: how each kind of package is named so that everybody's tools know it.

Source: package-url specification (PURL-SPECIFICATION.rst, PURL-TYPES.rst); where it leaves a choice
(``distro``, ``upstream``), the spelling that vulnerability scanners look for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from isobuilder.errors import InputError
from isobuilder.formats.packages.package import Package

_VENDORS = {"rhel": "redhat", "opensuse-leap": "opensuse", "opensuse-tumbleweed": "opensuse"}
_OF_SYSTEM = {"deb": "debian", "apk": "alpine", "rpm": "redhat"}  # where nobody says


def purl_of(package: Package, system: Mapping[str, str]) -> str:
    """Return the package URL; ``system`` is what os-release says, for packages of systems."""
    kind = package.kind
    if kind not in _OF_SYSTEM:
        return f"pkg:{kind}/{_path(_known_name(package))}@{_quoted(package.version)}"
    identity = system.get("ID", "")
    vendor = _VENDORS.get(identity, identity) or _OF_SYSTEM[kind]
    distro = "-".join(filter(None, (identity, system.get("VERSION_ID", ""))))
    upstream = package.source
    if package.source_version and package.source_version != package.version:
        upstream += f"@{package.source_version}"
    qualifiers = {
        "arch": package.architecture,
        "distro": distro,
        "epoch": dict(package.facts).get("epoch", ""),
        "upstream": upstream,
    }
    told = "&".join(f"{key}={_quoted(value)}" for key, value in qualifiers.items() if value)
    named = f"pkg:{kind}/{_quoted(vendor)}/{_quoted(package.name)}@{_quoted(package.version)}"
    return f"{named}?{told}" if told else named


def _known_name(package: Package) -> str:
    if package.kind == "pypi":
        return package.name.lower().replace("_", "-")
    return package.name


def _path(name: str) -> str:
    return "/".join(_quoted(part) for part in name.split("/") if part)


def _quoted(text: str) -> str:
    return quote(text, safe=".-_~")


@dataclass(frozen=True, slots=True)
class Purl:
    """A package URL, taken apart."""

    kind: str
    name: str  # with its namespace
    version: str
    qualifiers: tuple[tuple[str, str], ...]

    @property
    def key(self) -> tuple[str, str]:
        """What stays the same from version to version."""
        return self.kind, self.name

    @property
    def exact(self) -> tuple[str, str, str]:
        """What one version of a package is, whoever names it."""
        return self.kind, self.name, self.version

    def get(self, name: str) -> str:
        """Return a qualifier, empty where it has none."""
        return dict(self.qualifiers).get(name, "")


def parse_purl(text: str) -> Purl:
    """Return what a package URL means.

    Raises:
        InputError: it is none.
    """
    scheme, _, rest = text.partition(":")
    rest, _, _ = rest.lstrip("/").partition("#")
    rest, _, told = rest.partition("?")
    kind, slash, path = rest.partition("/")
    name, at, version = path.rpartition("@")
    if not at or "/" in version:  # an @ that begins the name of a scope is none of a version
        name, version = path, ""
    if scheme != "pkg" or not slash or not kind or not name:
        raise InputError(
            f"expected a package URL such as pkg:golang/NAME@VERSION, got {text[:120]!r}"
        )
    pairs = (pair.partition("=") for pair in told.split("&") if pair)
    return Purl(
        kind.lower(),
        "/".join(unquote(part) for part in name.split("/") if part),
        unquote(version),
        tuple(sorted((key, unquote(value)) for key, _, value in pairs)),
    )
