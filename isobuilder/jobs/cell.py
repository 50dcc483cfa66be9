"""One ISO as a job that any machine can do."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from isobuilder.model.lock import Lock
from isobuilder.model.recipe import IsoName

VERIFIED = "verified.json"
"""The end of the name of what ``isobuilder verify --json`` said of an ISO, beside it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One version for one architecture and profile.

    It starts machines only if its lock pins an OS payload, so that it is the same on a machine that
    has a payload and on one that has none.
    """

    iso: IsoName
    source: str  # what build is told: a recipe as the person named it, or a shipped version
    lock: Lock | None

    @property
    def name(self) -> str:
        """The base name of the ISO."""
        return self.iso.base

    @property
    def boot_flag(self) -> str:
        """The flag of ``build`` that leaves nothing to what a machine happens to have."""
        return "--boot" if self.iso.boots else "--no-boot"

    def commands(self, out: str) -> list[str]:
        """Return the shell commands of the job: build, then verify and keep what was said."""
        iso = f"{out}/{self.name}.iso"
        build = ["isobuilder", "build", self.source, "--arch", self.iso.architecture]
        verify = ["isobuilder", "verify", iso, "--lock", self.source, "--json"]
        record = shlex.quote(f"{out}/{self.name}.{VERIFIED}")
        return [
            shlex.join([*build, self.boot_flag, "--locked", "--out", out]),
            f"{shlex.join(verify)} > {record}",
        ]

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "name": self.name,
            "version": str(self.iso.kubernetes),
            "architecture": self.iso.architecture,
            "profile": self.iso.profile,
            "variant": self.iso.variant,
            "revision": self.iso.revision,
            "source": self.source,
            "lock": None if self.lock is None else str(self.lock.digest),
            "boot": self.boot_flag,
        }
