"""The commands we use, with typed answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from isobuilder.mold.api.client import JobLost, MoldClient, parse_time
from isobuilder.mold.api.credentials import ApiKey
from isobuilder.mold.api.errors import MoldRefused, OutcomeUnknown, StrangeAnswer
from isobuilder.mold.api.records import (
    ClusterRecord,
    EventRecord,
    ImageStore,
    IsoInZone,
    KeyPair,
    KubernetesVersion,
    SettingRecord,
    SystemVm,
    UploadTicket,
    ZoneRecord,
    read_record,
    read_records,
)

_VERSION = "kubernetessupportedversion"
FAILED_STATES = frozenset(
    {"DOWNLOAD_ERROR", "UPLOAD_ERROR", "ABANDONED", "LIMIT_REACHED", "UNKNOWN"}
)
_TRIES = 3
_MOST_EVENT_PAGES = 20  # of 500 each; what is older is told on the server's own page
_LOCK_TIME = 10.0  # seconds Mold keeps its lock on references to a version


@dataclass(frozen=True, slots=True)
class Addition:
    """The parameters of one ``addKubernetesSupportedVersion`` call."""

    name: str
    semver: str
    arch: str
    url: str
    checksum: str
    min_cpu: int
    min_memory: int
    zone_id: str | None = None  # None: all zones
    direct_download: bool = False


class Mold(MoldClient):
    """One management server: what is there, and how to change it."""

    _stores: tuple[ImageStore, ...] | None = None

    def _list(self, command: str, key: str, **params: Any) -> list[dict[str, Any]]:
        """Return a list; one asked for by an id that is unknown is refused there, empty here."""
        try:
            return self.list_all(command, key, **params)
        except MoldRefused as refused:
            if "id" in params and refused.says("entity does not exist"):
                return []
            raise

    def capabilities(self) -> dict[str, Any]:
        """Return what the server says about itself."""
        found = self.call("listCapabilities").get("capability")
        return found if isinstance(found, dict) else {}

    def key_pair(self) -> KeyPair | None:
        """Return what the server knows of the pair we sign with; None before CloudStack 4.23.

        The name of the answer's list is not worth checking: 4.23 gives it none of its own.
        """
        credentials = self.server.credentials
        command = "listUserKeys"
        if not isinstance(credentials, ApiKey) or not self.may_use(command):
            return None
        lists = (value for value in self.call(command).values() if isinstance(value, list))
        for item in (item for found in lists for item in found if isinstance(item, dict)):
            if item.get("apikey") == credentials.key:
                return read_record(KeyPair, item, command)
        return None

    def may_use(self, command: str) -> bool:
        """Tell whether the server has a command and this role may use it."""
        try:
            return bool(self.list_all("listApis", "api", name=command))
        except MoldRefused:
            return False

    def parameters(self, command: str) -> frozenset[str]:
        """Return the parameters that the server knows of a command; none where it does not tell."""
        try:
            found = self.list_all("listApis", "api", name=command)
        except MoldRefused:
            return frozenset()
        told = found[0].get("params") if found else None
        named = told if isinstance(told, list) else []
        return frozenset(str(one.get("name")) for one in named if isinstance(one, dict))

    def zones(self) -> tuple[ZoneRecord, ...]:
        """Return all zones."""
        return read_records(ZoneRecord, self.list_all("listZones", "zone"), "listZones")

    def versions(self, **params: Any) -> tuple[KubernetesVersion, ...]:
        """Return the supported Kubernetes versions."""
        command = "listKubernetesSupportedVersions"
        items = self._list(command, _VERSION, **params)
        return read_records(KubernetesVersion, items, command)

    def isos_of(self, version: KubernetesVersion) -> tuple[IsoInZone, ...]:
        """Return the ISO of a version in each of its zones; none if the ISO is gone."""
        return self.isos(version.isoid) if version.isoid else ()

    def isos(self, iso_id: str | None = None) -> tuple[IsoInZone, ...]:
        """Return an ISO in each of its zones, or all ISOs; without an admin key the public ones."""
        params = {"id": iso_id} if iso_id else {}
        try:
            items = self._list("listIsos", "iso", isofilter="all", **params)
        except MoldRefused as refused:
            if not refused.says("Filter all can be specified"):
                raise
            # ISOs of Kubernetes versions are public and not featured.
            items = self._list("listIsos", "iso", isofilter="community", **params)
        rows = read_records(IsoInZone, items, "listIsos")
        if all(row.isready or not row.downloaddetails for row in rows):
            return rows
        return tuple(self._with_state(row) for row in rows)

    def _with_state(self, row: IsoInZone) -> IsoInZone:
        """Pick the state of the zone's own stores out of those of all zones."""
        zone_of = {store.id: store.zoneid for store in self.image_stores()}
        states = [
            detail.downloadState
            for detail in row.downloaddetails
            if zone_of.get(detail.datastoreId, row.zoneid) in {None, row.zoneid}
        ]
        # One store that has it, or is at it, is enough.
        state = min(states, key=lambda state: state in FAILED_STATES, default="")
        return row.model_copy(update={"downloadstate": state})

    def image_stores(self) -> tuple[ImageStore, ...]:
        """Return the secondary storages, asked for once; none if this key may not see them."""
        if self._stores is None:
            try:
                items = self.list_all("listImageStores", "imagestore")
            except MoldRefused:
                items = []
            self._stores = read_records(ImageStore, items, "listImageStores")
        return self._stores

    def storage_vms(self) -> tuple[SystemVm, ...]:
        """Return the VMs that download ISOs."""
        command, kind = "listSystemVms", "secondarystoragevm"
        items = self.list_all(command, "systemvm", systemvmtype=kind)
        return read_records(SystemVm, items, command)

    def clusters(self) -> tuple[ClusterRecord, ...]:
        """Return the Kubernetes clusters of all accounts and projects.

        A list has those of projects, and perhaps no others, only where projects are asked for.
        """
        command = "listKubernetesClusters"
        items = [
            item
            for projects in ({}, {"projectid": -1})
            for item in self.list_all(command, "kubernetescluster", listall=True, **projects)
        ]
        found = {cluster.id: cluster for cluster in read_records(ClusterRecord, items, command)}
        return tuple(found.values())

    def events(
        self,
        limit: int = 1000,
        takes: Callable[[EventRecord], bool] = lambda _event: True,
        **params: Any,
    ) -> tuple[EventRecord, ...]:
        """Return the newest events that ``takes`` accepts, newest first, at most ``limit``.

        A server keeps every event of its life. Pages come newest first, so no page is asked for
        beyond the one that has enough; inside a page the oldest is first, also of one second.
        """
        found: list[EventRecord] = []
        pages = self.pages("listEvents", "event", listall=True, **params)
        for page in islice(pages, _MOST_EVENT_PAGES):
            found += filter(takes, reversed(read_records(EventRecord, page, "listEvents")))
            if len(found) >= limit:
                break
        return tuple(newest_first(found)[:limit])

    def setting(self, name: str) -> SettingRecord | None:
        """Return a global setting, None if this server has none of that name."""
        items = self.list_all("listConfigurations", "configuration", name=name)
        for record in read_records(SettingRecord, items, "listConfigurations"):
            if record.name == name:
                return record
        return None

    def set_setting(self, name: str, value: str) -> None:
        """Change a global setting."""
        self.call("updateConfiguration", name=name, value=value)

    def add_version(self, addition: Addition) -> KubernetesVersion:
        """Register a version by URL; the download goes on after this returns."""
        command = "addKubernetesSupportedVersion"
        answer = self.call(
            command,
            name=addition.name,
            semanticversion=addition.semver,
            arch=addition.arch,
            url=addition.url,
            checksum=addition.checksum,
            mincpunumber=addition.min_cpu,
            minmemory=addition.min_memory,
            zoneid=addition.zone_id,
            directdownload=True if addition.direct_download else None,
        )
        return read_record(KubernetesVersion, answer.get(_VERSION), command)

    def upload_ticket(self, addition: Addition) -> UploadTicket:
        """Make a version that waits for its ISO by upload."""
        command = "getUploadParamsForKubernetesSupportedVersion"
        answer = self.call(
            command,
            name=addition.name,
            semanticversion=addition.semver,
            mincpunumber=addition.min_cpu,
            minmemory=addition.min_memory,
            checksum=addition.checksum,
            format="ISO",
            zoneid=addition.zone_id,
        )
        return read_record(UploadTicket, answer.get("getuploadparams"), command)

    def set_state(self, version_id: str, *, enabled: bool) -> None:
        """Enable or disable a version."""
        state = "Enabled" if enabled else "Disabled"
        self.call("updateKubernetesSupportedVersion", id=version_id, state=state)

    def delete_version(self, version_id: str) -> None:
        """Delete a version and its ISO, and wait for it. One that is gone already is fine.

        Raises:
            MoldRefused: in use, or refused otherwise.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                result = self.call_job("deleteKubernetesSupportedVersion", id=version_id)
            except (OutcomeUnknown, JobLost):
                # Deleting by id may be asked for again: nothing else can have that id.
                if not self.versions(id=version_id):
                    return
                if attempt == _TRIES:
                    raise
            except MoldRefused as refused:
                if refused.says("Invalid Kubernetes version id", "entity does not exist"):
                    return
                if not refused.says("reference operation is in progress") or attempt == _TRIES:
                    raise
            else:
                if isinstance(result, dict) and result.get("success") is False:
                    raise StrangeAnswer(f"{self.name}: {version_id} was not deleted")
                return
            self.clock.sleep(_LOCK_TIME)


def newest_first(events: Iterable[EventRecord]) -> list[EventRecord]:
    """Return events by time; one without a time that can be read comes last."""
    long_ago = datetime.min.replace(tzinfo=UTC)
    return sorted(events, key=lambda event: parse_time(event.created) or long_ago, reverse=True)
