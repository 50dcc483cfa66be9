"""Is this server ready for that ISO? One line for each thing that could stand in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from isobuilder.errors import IsobuilderError, MoldError
from isobuilder.http.addresses import host_of, is_this_machine
from isobuilder.http.client import Http
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold.api.access import clock_offset
from isobuilder.mold.api.client import parse_time
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import Login
from isobuilder.mold.api.errors import AccessRefused, MoldRefused
from isobuilder.mold.api.records import (
    ONLY_ARCHITECTURE,
    ImageStore,
    SettingRecord,
    ZoneRecord,
    read_records,
)
from isobuilder.mold.check_url import check_url
from isobuilder.mold.checklist import Fix, Line, Question, Report, setting_command
from isobuilder.mold.kind import ServerKind, kind_of, refuse_architecture
from isobuilder.mold.registered import without_storage_vm, zones_served
from isobuilder.progress import SILENT, Progress
from isobuilder.rules.book import shipped_rules
from isobuilder.rules.support import end_notice, end_of_life, minor_of
from isobuilder.text import whole_number

ENABLED = "cloud.kubernetes.service.enabled"
_ENDPOINT_URL = "endpoint.url"
_OFFERING = "cloud.kubernetes.cluster.network.offering"
_OFFERING_AS_DOCUMENTED = "cloud.kubernetes.clusternetwork.offering"
_SKEW_THAT_WORRIES = 120.0  # seconds; a request expires after 600
_KEY_ENDS_SOON = timedelta(days=30)
_WRITES = (
    "addKubernetesSupportedVersion",
    "updateKubernetesSupportedVersion",
    "deleteKubernetesSupportedVersion",
)


def check(
    mold: Mold,
    question: Question,
    *,
    http: Http,
    progress: Progress = SILENT,
) -> list[Line]:
    """Look at everything a registration needs and return one line for each."""
    report = Report()
    try:
        capabilities = mold.capabilities()
    except IsobuilderError as error:
        subject = f"access ({error.cause})" if isinstance(error, AccessRefused) else "server"
        report.problem(subject, str(error), error.hint)
        return report.lines
    simulator = capabilities.get("simulator") is True
    kind = kind_of(mold, capabilities)
    _check_access(mold, report, simulator=simulator)
    _check_kind(report, kind, question.registration)
    _check_architecture(mold, report, kind, question.registration)
    _check_clock(mold, report)
    _check_limits(mold, report, capabilities)
    progress.step(f"{mold.name}: settings, zones and offerings")
    if not _check_plugin(mold, report, capabilities.get("kubernetesserviceenabled")):
        return report.lines
    _check_role(mold, report)
    _check_settings(mold, report)
    zones = _check_zones(mold, report, question)
    if zones and not question.direct_download:
        _check_downloads(mold, report, zones, question)
    _check_endpoint_url(mold, report)
    _check_resources(mold, report, question)
    if question.registration is not None:
        _check_names(mold, report, question.registration)
        needs = shipped_rules().node_needs(question.registration.kubernetesversion)
        report.ok("nodes", f"the template has to have: {'; '.join(needs)}")
        _check_parts(report, question)
    if question.url is None:
        report.warn("URL", "not given, so the download was not looked at", "give --url URL")
    else:
        check_url(mold, report, question, http=http, simulator=simulator, progress=progress)
    return report.lines


def _check_access(mold: Mold, report: Report, *, simulator: bool) -> None:
    server = mold.server
    kind = "session login" if isinstance(server.credentials, Login) else f"{server.algorithm} keys"
    what = "a simulator, not a Mold" if simulator else "answers"
    report.ok("server", f"{mold.endpoint} {what}; {kind} from {server.origin or 'here'}")
    if server.endpoint.startswith("http://") and not simulator:
        report.warn("transport", "http: anybody on the way can read", "use the https address")


def _check_kind(report: Report, kind: ServerKind, registration: RegistrationFile | None) -> None:
    """Tell who answers and what that means for ISOs, and whether this ISO is for it."""
    too_old = f"; too old for {', '.join(kind.lacks)}" if kind.lacks else ""
    takes = f"{kind}, which takes {' and '.join(kind.profiles)}"
    report.ok("cloud", f"{takes}: {kind.differs}{too_old}")
    if registration is None:
        return
    if misfit := kind.misfit(registration.profile):
        report.warn("profile", misfit)
    else:
        report.ok("profile", registration.profile)


def _check_architecture(
    mold: Mold, report: Report, kind: ServerKind, registration: RegistrationFile | None
) -> None:
    """Tell whether the server would take the ISO for what it is."""
    if registration is None or registration.arch == ONLY_ARCHITECTURE:
        return
    try:
        refuse_architecture(mold, kind, registration.arch)
    except MoldError as error:
        report.problem("architecture", str(error), error.hint)
    else:
        report.ok("architecture", registration.arch)


def _check_clock(mold: Mold, report: Report) -> None:
    """Compare the clocks: by the time of an answer, or by which requests are taken as valid."""
    most, skew = _SKEW_THAT_WORRIES, mold.skew
    if skew is not None:
        apart = f"{abs(skew):.0f} s apart"
        how = f"{abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}" if abs(skew) > most else None
    elif isinstance(mold.server.credentials, Login):
        return  # sessions need no clock
    else:
        apart, how = f"less than {most:.0f} s apart", clock_offset(mold, most)
    if how is None:
        report.ok("clock", apart)
    else:
        remedy = "set both by NTP; from 600 s on requests are refused"
        report.warn("clock", f"the server's clock is {how}", remedy)


def _check_limits(mold: Mold, report: Report, capabilities: Mapping[str, Any]) -> None:
    """Tell how long this key pair is good for, and how much may be asked with it."""
    calls, seconds = capabilities.get("apilimitmax"), capabilities.get("apilimitinterval")
    if calls is not None and seconds is not None:
        report.ok("API limit", f"{calls} calls in {seconds} s; what is too much waits")
    with report.looking_at("key"):
        pair = mold.key_pair()
        if pair is None:
            return
        name = pair.name or "without a name"
        end = parse_time(pair.enddate)
        fact = f"{name}, good until {end:%Y-%m-%d}" if end else f"{name}, without an end"
        if forbidden := [command for command in _WRITES if not pair.may_use(command)]:
            fact += f"; its own rules do not allow {', '.join(forbidden)}"
            report.warn("key", fact, "use another pair of this user, or one without rules")
        elif end is not None and end - mold.clock.now() < _KEY_ENDS_SOON:
            report.warn("key", fact, "register a new pair for this user before that day")
        else:
            report.ok("key", fact)


def _setting(mold: Mold, report: Report, name: str) -> SettingRecord | None:
    found = None
    with report.looking_at(name):
        found = mold.setting(name)
        if found is None:
            report.warn(name, "this server has no such setting")
    return found


def _check_plugin(mold: Mold, report: Report, enabled: object) -> bool:
    """Tell whether the service runs, by trying a command of it; its setting counts from a start."""
    restart = "restart the management server: systemctl restart cloudstack-management"
    try:
        mold.versions()
    except MoldError as error:
        refused = error
        if not _means_no_service(refused):
            report.problem("Kubernetes service", str(refused), refused.hint)
            return True
    else:
        if enabled is False:
            fact = "on until the management server is restarted, and off from then on"
            fix = Fix(ENABLED, "false", "true")
            report.warn("Kubernetes service", fact, f"set {ENABLED} to true", fix)
        else:
            report.ok("Kubernetes service", "on")
        return True
    setting = _setting(mold, report, ENABLED)
    if enabled is True or (setting is not None and setting.effective == "true"):
        report.problem("Kubernetes service", "switched on, but not yet running", restart)
    elif enabled is None and setting is None:
        report.problem("Kubernetes service", str(refused), refused.hint)
    else:
        mend = Fix(ENABLED, setting.effective, "true", restart) if setting else None
        report.problem("Kubernetes service", "off", f"set {ENABLED} to true; {restart}", mend)
    return False


def _means_no_service(refused: MoldError) -> bool:
    """Tell whether the server lacks the command: not that who asks may not, or got odd records."""
    if isinstance(refused, AccessRefused):
        return refused.cause in {"plugin", "command"}
    return isinstance(refused, MoldRefused) and refused.says("plugin is disabled")


def _check_role(mold: Mold, report: Report) -> None:
    with report.looking_at("role"):
        missing = [command for command in _WRITES if not mold.may_use(command)]
        if missing:
            report.problem(
                "role",
                f"this key may not use {', '.join(missing)}",
                "managing versions needs the key of a root administrator",
            )
        else:
            report.ok("role", "may add, change and delete versions")


def _check_settings(mold: Mold, report: Report) -> None:
    name = "cloud.kubernetes.cluster.max.size"
    setting = _setting(mold, report, name)
    if setting is not None:
        if whole_number(setting.effective):
            report.ok(name, f"clusters of up to {setting.effective} nodes")
        else:
            fix = Fix(name, setting.effective, "10")
            report.problem(name, f"{setting.effective!r} is no size", "set it to 10", fix)
    _check_network_offering(mold, report)


def _check_network_offering(mold: Mold, report: Report) -> None:
    with report.looking_at("network offering"):
        setting = mold.setting(_OFFERING) or mold.setting(_OFFERING_AS_DOCUMENTED)
        if setting is None:
            report.warn("network offering", f"this server has no setting {_OFFERING}")
            return
        found = mold.list_all("listNetworkOfferings", "networkoffering", name=setting.effective)
        if any(item.get("state", "Enabled") == "Enabled" for item in found):
            report.ok("network offering", f"{setting.effective} ({setting.name})")
            return
        everything = mold.list_all("listNetworkOfferings", "networkoffering")
        default = "DefaultNetworkOfferingforKubernetesService"
        there = any(item.get("name") == default for item in everything)
        report.problem(
            "network offering",
            f"{setting.name} names {setting.effective!r}, which is not there or not enabled",
            f"set it to {default}" if there else "make a network offering and name it there",
            Fix(setting.name, setting.effective, default) if there else None,
        )


def _check_zones(mold: Mold, report: Report, question: Question) -> list[ZoneRecord]:
    zones: list[ZoneRecord] = []
    with report.looking_at("zones"):
        zones = list(mold.zones())
        known = ", ".join(zone.name for zone in zones) or "none"
        for key in question.zones:
            if not any(key in {zone.id, zone.name} for zone in zones):
                report.problem("zones", f"no zone {key!r}", f"known: {known}")
        if question.zones:
            zones = [z for z in zones if {z.id, z.name}.intersection(question.zones)]
        for zone in zones:
            if not zone.enabled:
                report.warn("zones", f"{zone.name} is {zone.allocationstate}")
            if zone.edge and not question.direct_download:
                say = report.problem if question.zones else report.warn
                say("zones", f"{zone.name} is an edge zone", "it takes only --direct-download")
        if zones:
            report.ok("zones", ", ".join(zone.name for zone in zones))
        else:
            report.problem("zones", "no zone to register in", f"known: {known}")
    return zones


def _check_downloads(
    mold: Mold, report: Report, zones: Sequence[ZoneRecord], question: Question
) -> None:
    """Look at who downloads and keeps ISOs in the zones in which a registration waits for that."""
    zones = [zone for zone in zones if not zone.edge]
    if question.zones:
        _check_stores(mold, report, zones, question)
    elif zones := [zone for zone in zones if zone.enabled]:
        _check_stores(mold, report, zones, question)
        zones = list(zones_served(mold, zones, direct=False))
    else:
        report.problem("zones", "no enabled zone takes downloads", "enable one")
    if zones:
        _check_storage_vms(mold, report, zones)


def _check_stores(
    mold: Mold, report: Report, zones: Sequence[ZoneRecord], question: Question
) -> None:
    with report.looking_at("image stores"):
        items = mold.list_all("listImageStores", "imagestore")
        stores = read_records(ImageStore, items, "listImageStores")
        # A store without a zone serves the whole region.
        everywhere = any(store.zoneid is None for store in stores)
        served = {store.zoneid for store in stores}
        without = [zone.name for zone in zones if zone.id not in served and not everywhere]
        fact = f"no secondary storage in {', '.join(without)}"
        if question.zones and without:
            report.problem("image stores", fact, "add one, or do not name these zones with --zone")
        elif without and len(without) == len(zones):
            report.problem("image stores", fact, "add one; no ISO can be kept without")
        elif without:
            report.warn("image stores", f"{fact}: these zones are left out", "add one")
        else:
            report.ok("image stores", f"{len(stores)} in {len(zones)} zones")


def _check_storage_vms(mold: Mold, report: Report, zones: Sequence[ZoneRecord]) -> None:
    """Tell where nobody is there to download: such a download waits for ever."""
    with report.looking_at("storage VMs"):
        if without := without_storage_vm(mold, zones):
            report.problem(
                "storage VMs",
                f"none that is running and connected in {', '.join(without)}",
                "nothing is downloaded there; look at Infrastructure, System VMs",
            )
        else:
            report.ok("storage VMs", f"one that is running in each of {len(zones)} zones")


def _check_endpoint_url(mold: Mold, report: Report) -> None:
    """Tell of the setting without which no cluster can be made; its default does not do."""
    setting = _setting(mold, report, _ENDPOINT_URL)
    if setting is None:
        return
    host = host_of(setting.effective) or ""
    own = host in {"", "::", "0.0.0.0"} or is_this_machine(host)  # noqa: S104 - refused
    if own or "localhost" in setting.effective.lower():  # which CloudStack looks for anywhere
        report.problem(
            _ENDPOINT_URL,
            f"{setting.effective!r}: nodes would look for the server on themselves, so every "
            "cluster is refused",
            f"{setting_command(mold, _ENDPOINT_URL, 'ADDRESS/client/api')}, "
            "with an address that nodes reach",
        )
    else:
        report.ok(_ENDPOINT_URL, setting.effective)


def _check_resources(mold: Mold, report: Report, question: Question) -> None:
    registration = question.registration
    cpu = registration.mincpunumber if registration else 2
    memory = registration.minmemory if registration else 2048
    with report.looking_at("service offering"):
        offerings = mold.list_all("listServiceOfferings", "serviceoffering")
        fits = [
            str(item.get("name"))
            for item in offerings
            # A custom offering has no numbers of its own.
            if item.get("iscustomized") is True
            or (_number(item.get("cpunumber")) >= cpu and _number(item.get("memory")) >= memory)
        ]
        if fits:
            report.ok("service offering", f"{len(fits)} with {cpu} CPUs and {memory} MB or more")
        else:
            report.problem(
                "service offering",
                f"none of {len(offerings)} has {cpu} CPUs and {memory} MB",
                "add one; clusters need it",
            )
    if registration is None:
        return
    with report.looking_at("node template"):
        templates = mold.list_all("listTemplates", "template", templatefilter="all", forcks=True)
        fits = [
            str(item.get("name"))
            for item in templates
            if item.get("forcks") is True and item.get("arch", "x86_64") == registration.arch
        ]
        if fits:
            report.ok("node template", f"{', '.join(sorted(fits)[:3])} ({registration.arch})")
        else:
            report.warn(
                "node template",
                f"none marked for Kubernetes (forcks) of {registration.arch}",
                "clusters then start from the system VM template; ISO and template must have the "
                "same architecture",
            )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _check_parts(report: Report, question: Question) -> None:
    """Tell what on the ISO does not fit together, each with who says so."""
    for one in question.unfit or ():
        if one.level == "error":
            report.problem(one.rule, str(one), one.hint)
        else:
            report.warn(one.rule, str(one), one.hint)
    if question.unfit == ():
        report.ok("parts", "nothing is known against them")


def _check_names(mold: Mold, report: Report, registration: RegistrationFile) -> None:
    with report.looking_at("registered versions"):
        versions = [
            version
            for version in mold.versions()
            if version.semanticversion == str(registration.kubernetesversion)
            and version.assumed_arch == registration.arch
        ]
        names = ", ".join(sorted(version.name for version in versions))
        what = f"{registration.kubernetesversion} for {registration.arch}"
        report.ok("registered versions", f"{what}: {names}" if names else f"{what}: not yet")
    version = str(registration.kubernetesversion)
    if notice := end_notice(version, mold.clock.now().date()):
        report.warn("end of life", notice, "register a minor that is still mended")
    elif end := end_of_life(version):
        report.ok("end of life", f"upstream mends Kubernetes {minor_of(version)} until {end}")
