"""What a simulated Mold knows: zones, versions, ISOs, settings, events, jobs."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from isobuilder.demo.mold.download import DownloadOutcome, Fetch
from isobuilder.mold.api.clock import SYSTEM_CLOCK, Clock

REGION_STORE = "store-region"  # the id of a secondary storage that serves every zone


class ApiError(Exception):
    """An answer with an ``errorcode``."""

    def __init__(self, code: int, text: str, cserror: int = 9999) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.cserror = cserror


@dataclass
class CloudUser:
    """Somebody with a key pair and a password."""

    name: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    password: str = field(repr=False, default="")
    role: str = "admin"  # "admin" is a root administrator, "user" may only look
    enabled: bool = True
    second_factor: bool = False  # sessions then answer 411, keys do not
    key_name: str = "default"
    key_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    key_starts: datetime | None = None
    key_ends: datetime | None = None
    key_rules: tuple[tuple[str, str], ...] = ()  # what, and allow or deny; the first that fits


@dataclass
class Zone:
    """A zone; a zone without a store cannot keep ISOs."""

    name: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    type: str = "Core"
    enabled: bool = True
    has_store: bool = True
    stuck: bool = False  # downloads never begin
    storage_vm: bool = True  # one that is up downloads
    fails_with: str | None = None  # every download ends with this text


@dataclass
class Setting:
    """A global setting; ``value`` None is shown as absent, as Mold does."""

    value: str | None
    default: str = ""
    dynamic: bool = True


@dataclass
class IsoRow:
    """One ISO in one zone. Its state follows the clock and the real download."""

    zone: Zone
    started: float
    fetch: Fetch | None
    direct: bool = False
    outcome: DownloadOutcome | None = None
    upload_until: float | None = None  # a waiting upload turns Failed then


@dataclass
class Version:
    """A supported Kubernetes version and its ISO."""

    name: str
    semver: str
    arch: str
    url: str
    checksum: str
    zone: Zone | None
    min_cpu: int
    min_memory: int
    direct: bool
    created: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    iso_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "Enabled"
    has_iso: bool = True  # False after somebody deleted the ISO alone
    in_project: bool = False  # lists of ISOs leave it out unless it is asked for by its id
    rows: list[IsoRow] = field(default_factory=list)


@dataclass
class CloudCluster:
    """A Kubernetes cluster that uses a version; ``upgrading_to`` pins a second one."""

    name: str
    version_id: str
    zone: Zone
    upgrading_to: str | None = None
    in_project: bool = False  # lists without projectid leave it out
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass
class Job:
    """An asynchronous command; ``work`` runs when its time has come."""

    id: str
    command: str
    due: float
    work: Callable[[], dict[str, Any]]
    created: str = ""
    status: int = 0
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Timing:
    """How long things take, in seconds of the cloud's clock."""

    allocated: float = 1.0
    downloading: float = 1.0  # at least; the real download may take longer
    installing: float = 1.0
    job: float = 2.0
    join: bool = False  # wait for the real download once its time is over: for virtual clocks


@dataclass(frozen=True)
class Host:
    """A name the simulated cloud resolves: what its rules see, and where it really connects."""

    address: str
    base: str | None = None  # such as http://127.0.0.1:8000


def _default_settings() -> dict[str, Setting]:
    """Return the settings of a new installation with the Kubernetes service on."""
    return {
        "cloud.kubernetes.service.enabled": Setting("true", "false", dynamic=False),
        "cloud.kubernetes.cluster.max.size": Setting("10", "10"),
        "cloud.kubernetes.cluster.network.offering": Setting(
            "DefaultNetworkOfferingforKubernetesService",
            "DefaultNetworkOfferingforKubernetesService",
        ),
        "store.download.follow.redirects": Setting("false", "false"),
        "secstorage.allowed.internal.sites": Setting(None),
        "max.template.iso.size": Setting("50", "50"),
        "upload.operation.timeout": Setting("60", "60"),
        "enforce.post.requests.and.timestamps": Setting("false", "false", dynamic=False),
        "default.page.size": Setting("500", "500", dynamic=False),
        "endpoint.url": Setting(
            "http://mold.example:8080/client/api", "http://localhost:8080/client/api"
        ),
    }


class Cloud:
    """The state of one simulated management server, and how it changes with time."""

    def __init__(
        self,
        *,
        zones: tuple[str, ...] = ("Zone1", "Zone2"),
        clock: Clock = SYSTEM_CLOCK,
        pace: Timing = Timing(),
    ) -> None:
        self.clock = clock
        self.pace = pace
        self.lock = threading.RLock()
        self.zones = [Zone(name) for name in zones]
        self.users: list[CloudUser] = []
        self.versions: dict[str, Version] = {}
        self.clusters: list[CloudCluster] = []
        self.settings = _default_settings()
        self.events: list[dict[str, Any]] = []
        self.jobs: dict[str, Job] = {}
        self.sessions: dict[str, CloudUser] = {}
        self.domain_id = str(uuid.uuid4())
        self.leaves_isos = False  # a deleted version's ISO stays, though success is reported
        self.region_store = False  # one secondary storage for all zones, such as S3
        self.orphans: dict[str, Version] = {}
        self.plugin_on = True
        self.is_mold = True  # else CloudStack
        self.most_calls: int | None = None  # in a second, of anybody but root administrators
        self.arches = ("x86_64", "aarch64")
        self.knows_arches = True  # before 4.20 the parameter is ignored, and never answered
        self.tells_parameters = True  # of commands; who may not see them is told none
        self.version = "4.23.0.0"
        self.parameter_error = 530  # some servers say 431 for the same fault
        self.reports_checksum = True
        self.reports_details = True  # states of each store; not every server tells them
        self.reports_url = True
        self.resolve: dict[str, Host] = {}
        self.refuses_loopback = False  # a real Mold does; here ISOs usually come from there
        self.offerings = [{"name": "Small Instance", "cpunumber": 2, "memory": 4096}]
        self.network_offerings = ["DefaultNetworkOfferingforKubernetesService"]
        self.node_templates = [{"name": "cks-node-amd64", "arch": "x86_64"}]
        self.base_url = ""

    def zone(self, key: str | None) -> Zone | None:
        """Return the zone of that id or name."""
        return next((zone for zone in self.zones if key in {zone.id, zone.name}), None)

    def setting(self, name: str) -> str:
        """Return what a setting is in effect."""
        found = self.settings.get(name)
        if found is None:
            return ""
        return found.value if found.value is not None else found.default

    def now_text(self) -> str:
        """Return the time as Mold writes it."""
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%z")

    def note(
        self,
        kind: str,
        description: str,
        *,
        level: str = "INFO",
        resource: str = "",
        state: str = "Completed",
    ) -> None:
        """Write an event."""
        self.events.append(
            {
                "id": str(uuid.uuid4()),
                "type": kind,
                "level": level,
                "state": state,
                "description": description,
                "created": self.now_text(),
                "username": "admin",
                "account": "admin",
                "resourceid": resource,
                "resourcetype": "Iso" if kind.startswith("ISO.") else "KubernetesSupportedVersion",
                "domain": "ROOT",
                "domainid": self.domain_id,
                "domainpath": "ROOT",
            }
        )

    def restart(self, *, finish_jobs: bool = False) -> None:
        """Forget jobs and sessions and read static settings again, as a new process does."""
        with self.lock:
            if finish_jobs:
                for job in self.jobs.values():
                    job.due = 0.0
                self.tick()
            self.jobs.clear()
            self.sessions.clear()
            self.plugin_on = self.setting("cloud.kubernetes.service.enabled") == "true"

    def replace(self) -> None:
        """Become another server behind the same address, with the same keys and no versions."""
        with self.lock:
            self.restart()
            self.versions.clear()
            self.events.clear()

    def uses(self, version_id: str) -> list[CloudCluster]:
        """Return the clusters that need a version."""
        return [
            cluster
            for cluster in self.clusters
            if version_id in {cluster.version_id, cluster.upgrading_to}
        ]

    def tick(self) -> None:
        """Let everything happen whose time has come."""
        with self.lock:
            now = self.clock.monotonic()
            for job in list(self.jobs.values()):
                if job.status == 0 and now >= job.due:
                    self._run(job)
            for version in list(self.versions.values()):
                for row in version.rows:
                    self._advance(row, now)

    def _run(self, job: Job) -> None:
        try:
            job.result, job.status = job.work(), 1
        except ApiError as error:
            job.result = {"errorcode": error.code, "errortext": error.text}
            job.status = 2

    def _advance(self, row: IsoRow, now: float) -> None:
        if row.outcome is not None or row.zone.stuck or not row.zone.storage_vm:
            return
        if row.upload_until is not None:
            if now >= row.upload_until:
                row.upload_until = None
                row.outcome = DownloadOutcome(error="Operation timed out", size=0, hexdigest="")
            return
        if row.fetch is None or now < row.started + self.pace.allocated:
            return
        row.fetch.begin(follow=self.setting("store.download.follow.redirects") == "true")
        total = self.pace.allocated + self.pace.downloading + self.pace.installing
        if now < row.started + total:
            return
        outcome = row.fetch.outcome(wait=30.0 if self.pace.join else 0.0)
        if outcome is None:
            return
        if row.zone.fails_with is not None:
            outcome = DownloadOutcome(error=row.zone.fails_with, size=0, hexdigest="")
        row.outcome = outcome

    def state_of(self, row: IsoRow) -> tuple[str, str, bool]:
        """Return state, status text and readiness of an ISO in a zone (contract D.10)."""
        if row.outcome is not None and row.outcome.error is not None:
            return ("Failed" if row.fetch is None else "Allocated"), row.outcome.error, False
        if row.direct:
            return "Ready", "Bypassed Secondary Storage", True
        if row.outcome is not None:
            return "Ready", "Successfully Installed", True
        return (*self._under_way(row), False)

    def download_state(self, row: IsoRow) -> str:
        """Return the state of the copy on the zone's store (``downloaddetails``)."""
        _state, status, ready = self.state_of(row)
        if ready:
            return "BYPASSED" if row.direct else "DOWNLOADED"
        if row.outcome is not None:
            return "DOWNLOAD_ERROR"
        return "DOWNLOAD_IN_PROGRESS" if "%" in status else "NOT_DOWNLOADED"

    def _under_way(self, row: IsoRow) -> tuple[str, str]:
        elapsed = self.clock.monotonic() - row.started
        if row.upload_until is not None:
            return "NotUploaded", ""
        if row.zone.stuck or not row.zone.storage_vm or elapsed < self.pace.allocated:
            return "Creating", "Processing"
        percent = row.fetch.percent if row.fetch else 100
        planned = self.pace.allocated + self.pace.downloading
        if elapsed < planned:
            share = (elapsed - self.pace.allocated) / (self.pace.downloading or 1.0)
            return "Creating", f"{min(percent, int(share * 100))}% Downloaded"
        if percent < 100:
            return "Creating", f"{percent}% Downloaded"
        return "Creating", "Installing ISO"
