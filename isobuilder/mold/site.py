"""Where a site's own server has an ISO: the address that ``site serve`` gives it."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from isobuilder.errors import InputError, IntegrityError, UpstreamError
from isobuilder.formats.sums import sum_line
from isobuilder.http.addresses import redact
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.model.registration import RegistrationFile

_MOST_SUM = 4096  # bytes of one line of sha256sum


def address_at_site(http: Http, site: str, registration: RegistrationFile) -> str:
    """Return the address of an ISO at ``site``, which says that its bytes are the right ones.

    Raises:
        InputError: ``site`` is no address.
        IntegrityError: it has an ISO of this name with other bytes.
        UpstreamError: it has none, or does not answer.
    """
    site = site.strip()
    try:
        parts = urlsplit(site)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.username is None
        usable = usable and parts.port != 0 and site.isprintable() and " " not in site
    except ValueError:
        usable = None
    if not usable or parts.query or parts.fragment:
        raise InputError("--from-site: expected http://HOST[:PORT], and no login in it")
    url = f"{site.rstrip('/')}/isos/{quote(registration.filename)}"
    try:
        answer = http.get_small(f"{url}.sha256", limit=_MOST_SUM)
    except HttpFailure as failure:
        if failure.status == 401:
            raise UpstreamError(
                f"{redact(site)}: it wants a login, and Mold has none for it",
                hint="let isobuilder site serve give it to Mold without --user",
            ) from failure
        if failure.status != 404:
            raise
        raise UpstreamError(
            f"{redact(site)}: it does not serve {registration.filename}",
            hint="put the ISO into a folder that isobuilder site serve looks at",
        ) from failure
    told = sum_line(answer.body.decode("utf-8", "replace").strip())
    if told is None or not told.is_sha256:
        raise UpstreamError(f"{redact(url)}.sha256: expected a line of sha256sum")
    if told.digits != registration.checksum.hex:
        raise IntegrityError(
            f"{redact(url)}: it serves SHA-256 {told.digits}, the ISO has "
            f"{registration.checksum.hex}",
            hint="carry the ISO again, or register the one that is served",
        )
    return url
