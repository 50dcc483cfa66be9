"""The part of the check that is about the ISO's URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from isobuilder.errors import UpstreamError
from isobuilder.http.client import Http
from isobuilder.mold.address import Served, allowed_by, hash_of, look_at, refused_kind
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.checklist import Fix, Question, Report, setting_command
from isobuilder.progress import Progress
from isobuilder.text import whole_number

_NEVER_FOLLOWED = 308
INTERNAL_SITES = "secstorage.allowed.internal.sites"
MAX_SIZE = "max.template.iso.size"
FOLLOW_REDIRECTS = "store.download.follow.redirects"


def check_url(
    mold: Mold,
    report: Report,
    question: Question,
    *,
    http: Http,
    simulator: bool,
    progress: Progress,
) -> None:
    """Add the lines about where the ISO is, and about the settings that decide over it."""
    url = question.url or ""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        report.problem("URL", "expected http:// or https://, a host, and no credentials")
        return
    if not parts.path.lower().endswith(".iso"):
        report.problem("URL", f"the path {parts.path!r} does not end in .iso", "rename the file")
    _check_address(mold, report, question, parts.hostname, simulator=simulator)
    progress.step(f"asking for {parts.hostname}{parts.path}")
    try:
        served = look_at(http, url)
    except UpstreamError as error:
        report.problem("URL answers", f"seen from here: {error}", error.hint)
        return
    _check_redirect(mold, report, served)
    if served.status == 200:
        _check_content(mold, report, question, served)
    elif served.location is None:
        report.problem(
            "URL answers",
            f"HTTP {served.status}, seen from here",
            "it must answer 200 without a login",
        )
    if question.download and served.is_iso is not False:
        _check_bytes(report, question, http, progress)


def _check_address(
    mold: Mold, report: Report, question: Question, host: str, *, simulator: bool
) -> None:
    addresses = question.resolve(host)
    if not addresses:
        report.problem(
            "host",
            f"{host} cannot be resolved here",
            "the management server and the storage VM must be able to resolve it",
        )
        return
    refused = {kind for address in addresses if (kind := refused_kind(address))}
    usable = [address for address in addresses if refused_kind(address) is None]
    if refused and not usable:
        fact = f"{host} is {' and '.join(sorted(refused))}, which Mold refuses"
        if simulator:
            report.warn("host", f"{fact}; this simulator takes it")
        else:
            report.problem("host", fact, "serve the ISO from an address the cloud can reach")
        return
    with report.looking_at(INTERNAL_SITES):
        setting = mold.setting(INTERNAL_SITES)
        sites = setting.effective if setting else ""
        closed = [address for address in usable if not allowed_by(address, sites)]
        if not closed or question.direct_download:
            report.ok("host", f"{host} is {', '.join(usable)}")
            return
        new = ",".join(filter(None, [sites.strip(), *(f"{a}/32" for a in closed)]))
        report.problem(
            "host",
            f"{host} is the private address {', '.join(closed)}, not in {INTERNAL_SITES} "
            f"({sites or 'empty'})",
            f"set {INTERNAL_SITES} to {new}",
            Fix(INTERNAL_SITES, sites, new, "the storage VM takes it over within minutes"),
        )


def _check_redirect(mold: Mold, report: Report, served: Served) -> None:
    if served.location is None:
        return
    fact = f"HTTP {served.status}, redirects to {served.location}"
    with report.looking_at(FOLLOW_REDIRECTS):
        setting = mold.setting(FOLLOW_REDIRECTS)
        if served.status == _NEVER_FOLLOWED:
            report.problem("redirect", f"{fact}; Mold never follows 308", "give the final address")
        elif setting is not None and setting.effective == "true":
            report.ok("redirect", f"{fact}; {FOLLOW_REDIRECTS} is true")
        else:
            report.problem(
                "redirect",
                f"{fact}, but {FOLLOW_REDIRECTS} is false",
                f"give the final address, or run {setting_command(mold, FOLLOW_REDIRECTS, 'true')}",
                Fix(FOLLOW_REDIRECTS, setting.effective, "true") if setting else None,
            )


def _check_content(mold: Mold, report: Report, question: Question, served: Served) -> None:
    if served.is_iso is False:
        report.problem(
            "content",
            "the URL does not serve an ISO",
            "a login or error page looks like this; open the URL without a login",
        )
        return
    if served.length is None:
        fact = "the server tells no Content-Length; servers before CloudStack 4.23 need it"
        report.warn("size", fact, "serve the ISO as a plain file")
        return
    registration = question.registration
    if registration is not None and registration.size not in {0, served.length}:
        report.problem(
            "size",
            f"the URL serves {served.length} bytes, the ISO has {registration.size}",
            "upload the ISO again",
        )
        return
    report.ok("size", f"{served.length} bytes")
    with report.looking_at(MAX_SIZE):
        setting = mold.setting(MAX_SIZE)
        text = setting.effective if setting else ""
        largest = whole_number(text)
        if largest is not None and served.length > largest * 1024**3:
            needed = str(served.length // 1024**3 + 1)
            report.problem(
                MAX_SIZE,
                f"{text} GB, the ISO is larger",
                f"set it to {needed}",
                Fix(MAX_SIZE, text, needed),
            )
        elif largest is not None:
            report.ok(MAX_SIZE, f"{text} GB")


def _check_bytes(report: Report, question: Question, http: Http, progress: Progress) -> None:
    registration = question.registration
    if registration is None:
        return
    try:
        limit = registration.size or question.ceiling
        found, size = hash_of(http, question.url or "", limit=limit, progress=progress)
    except UpstreamError as error:
        report.problem("checksum", str(error), error.hint)
        return
    wanted = registration.checksum.hex
    if found == wanted:
        report.ok("checksum", f"the URL serves these {size} bytes")
    else:
        report.problem(
            "checksum",
            f"the URL serves SHA-256 {found}, the ISO has {wanted}",
            "upload the ISO again",
        )
