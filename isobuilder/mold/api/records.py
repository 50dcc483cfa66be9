"""What the server tells, typed: unknown fields are dropped, missing ones have defaults."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from isobuilder.model.validation import cause_of
from isobuilder.mold.api.errors import StrangeAnswer
from isobuilder.text import printable

ONLY_ARCHITECTURE = "x86_64"  # of servers before 4.20
_LONGEST = 4096  # characters of a field


class Record(BaseModel):
    """One object of an answer. Unlike our own files it is read leniently: servers differ.

    Texts are one printable line each: what a server or one of its users wrote is shown to people.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    as_they_are: ClassVar[frozenset[str]] = frozenset()  # fields that are sent back

    @field_validator("*", mode="after")
    @classmethod
    def _one_line(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and info.field_name not in cls.as_they_are:
            return printable(value, _LONGEST)
        return value


class KubernetesVersion(Record):
    """A supported Kubernetes version (contract D.2)."""

    id: str
    name: str = ""
    semanticversion: str = ""
    isoid: str = ""  # empty where the ISO was deleted by hand: then nobody can use the version
    isostate: str = ""  # of one arbitrary zone; readiness comes from listIsos
    isourl: str | None = None
    arch: str | None = None  # None: not told, by servers before 4.20 and where the ISO is gone
    directdownload: bool = False
    zoneid: str | None = None  # None: all zones
    zonename: str | None = None
    state: str = ""
    mincpunumber: int | None = None
    minmemory: int | None = None
    created: str | None = None

    @property
    def assumed_arch(self) -> str:
        """The architecture, for people and for counting: servers that tell none have one."""
        return self.arch or ONLY_ARCHITECTURE


class DownloadDetail(Record):
    """How far the copy on one image store is; told to administrators, for all zones' stores."""

    datastoreId: str = ""  # noqa: N815 - the API's name
    downloadState: str = ""  # noqa: N815


class ImageStore(Record):
    """A secondary storage."""

    id: str
    zoneid: str | None = None  # None: of every zone


class SystemVm(Record):
    """A VM of the cloud itself, such as the one that downloads ISOs."""

    name: str = ""
    zoneid: str = ""
    state: str = ""
    agentstate: str = ""


_HASHES = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}


class IsoInZone(Record):
    """The ISO of a version in one zone (contract D.10)."""

    id: str
    zoneid: str = ""  # empty for the one copy on a store of the whole region, such as S3
    zonename: str = "all zones"
    status: str = ""
    isready: bool = False
    size: int | None = None
    checksum: str | None = None
    downloaddetails: tuple[DownloadDetail, ...] = ()
    downloadstate: str = ""  # of the zone's own stores; not in the answer, see Mold.isos

    @property
    def hash(self) -> tuple[str, str] | None:
        """The reported hash as algorithm and digits; a server keeps one of several kinds."""
        match = re.fullmatch(r"(?:\{[^}]*\})?([0-9a-fA-F]+)", self.checksum or "")
        algorithm = _HASHES.get(len(match[1])) if match else None
        return (algorithm, match[1].lower()) if match and algorithm else None

    @property
    def sha256(self) -> str | None:
        """The reported SHA-256, lower case, or None if none or another hash is reported."""
        return self.hash[1] if self.hash and self.hash[0] == "sha256" else None


class ZoneRecord(Record):
    """A zone."""

    id: str
    name: str = ""
    allocationstate: str = "Enabled"
    type: str = "Core"
    networktype: str = ""

    @property
    def edge(self) -> bool:
        """Whether only direct download works there."""
        return self.type.lower() == "edge"

    @property
    def enabled(self) -> bool:
        """Whether the zone takes new work."""
        return self.allocationstate == "Enabled"


class ClusterRecord(Record):
    """A Kubernetes cluster."""

    id: str
    name: str = ""
    state: str = ""
    clustertype: str = ""
    zoneid: str = ""
    zonename: str = ""
    kubernetesversionid: str | None = None
    kubernetesversionname: str = ""


class EventRecord(Record):
    """An event."""

    id: str = ""
    type: str = ""
    level: str = ""
    state: str = ""
    description: str = ""
    created: str = ""
    username: str = ""
    account: str = ""
    resourceid: str | None = None


class SettingRecord(Record):
    """A global setting; Mold leaves out a value that is null."""

    as_they_are = frozenset({"value", "defaultvalue"})

    name: str
    value: str | None = None
    defaultvalue: str | None = None
    isdynamic: bool | None = None

    @property
    def effective(self) -> str:
        """The value in effect."""
        return self.value if self.value is not None else self.defaultvalue or ""


class KeyRule(Record):
    """One rule of a key pair: what it may or may not use; ``*`` stands for anything."""

    rule: str = ""
    permission: str = ""  # "allow" or "deny"


class KeyPair(Record):
    """A key pair of a user, from CloudStack 4.23 on: several each, with dates and rules."""

    name: str = ""
    startdate: str | None = None
    enddate: str | None = None
    permissions: tuple[KeyRule, ...] = ()

    def may_use(self, command: str) -> bool:
        """Tell whether its own rules leave it a command; the first that fits decides."""
        for rule in self.permissions:
            if fnmatchcase(command.lower(), rule.rule.lower()):
                return rule.permission.lower() == "allow"
        return not self.permissions


class UploadTicket(Record):
    """Where and with which headers an ISO may be uploaded (contract D.6)."""

    as_they_are = frozenset({"postURL", "metadata", "expires", "signature"})

    id: str
    postURL: str  # noqa: N815 - the API's name
    metadata: str
    expires: str
    signature: str


R = TypeVar("R", bound=Record)


def read_record(kind: type[R], data: Any, where: str) -> R:
    """Return ``data`` as that kind of record.

    Raises:
        StrangeAnswer: a field one cannot do without is missing, or of another type.
    """
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if value is not None}
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise StrangeAnswer(
            f"{where}: a field is not as expected: {cause_of(error, '(all)')}",
            hint="is this a Mold or CloudStack server?",
        ) from error


def read_records(kind: type[R], items: Iterable[Any], where: str) -> tuple[R, ...]:
    """Return all of them."""
    return tuple(read_record(kind, item, where) for item in items)
