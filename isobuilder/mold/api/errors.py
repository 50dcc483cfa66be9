"""What a server's refusal means and what to do about it, decided by its text."""

from __future__ import annotations

import re
from typing import Any

from isobuilder.errors import MoldError, UpstreamError
from isobuilder.text import printable

BUSY = r"not currently being downloaded|either getting uploaded"  # cannot be deleted yet
CREDENTIALS_TEXT = "unable to verify user credentials"

# Texts come with status 431 or 530 for the same fault, so only the text decides.
_REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"Kubernetes Service plugin is disabled",
        "set cloud.kubernetes.service.enabled to true and restart the management server; "
        "isobuilder mold check --fix does the first half",
    ),
    (r"Semantic version needed|MAJOR\.MINOR\.PATCH", "give a version such as 1.34.12, without v"),
    (r"minimum version supported by Kubernetes Service", "only 1.11.0 and newer can be registered"),
    (
        r"Invalid zone specified|Invalid parameter zoneid",
        "isobuilder mold zones lists the zones of this server",
    ),
    (r"supports only direct download", "add --direct-download, or name other zones with --zone"),
    (r"mincpunumber", "give --min-cpu 2 or more"),
    (r"minmemory", "give --min-memory 2048 or more (MB)"),
    (
        r"Invalid URL for ISO specified|Unable to register binaries ISO",
        "the reason is only in the server's log: the management server must resolve the host and "
        "reach it, it refuses loopback and IPv6 addresses, and the path must end in .iso; "
        "isobuilder mold check ISO --url URL looks at each",
    ),
    (
        r"Unsupported arch type",
        "this server knows x86_64, and aarch64 from 4.20 on; build for one it knows",
    ),
    (
        r"No image store available|have no image store",
        "add a secondary storage to the zone, or name the other zones with --zone",
    ),
    (
        r"Existing clusters|unfinished upgrades reference",
        "upgrade or delete these clusters first; isobuilder mold show lists them",
    ),
    (
        r"artifact reference operation is in progress",
        "another operation on Kubernetes versions runs; try again in ten seconds",
    ),
    (
        BUSY,
        "the server lets it go only after its download or upload has ended; an upload that was "
        "begun counts until upload.operation.timeout (minutes) is over. Run the same command then",
    ),
    (
        r"(Maintenance|Shutdown) has been initiated",
        "this management server takes no new work: wait, or use the address of another one",
    ),
    (r"Failed to update state", "something else changes it at the moment; try again"),
    (r"Couldn't find a host to validate", "direct download needs a KVM host that is up"),
    (r"ISO deletion did not complete", "the version was kept; run the same command again"),
    (
        r"Invalid Kubernetes version id|entity does not exist",
        "it was deleted, or belongs to another server; isobuilder mold list shows what is there",
    ),
    (r"Invalid value for state parameter", "the state is Enabled or Disabled"),
    (
        r"needs to be sent using POST",
        "a proxy turned the POST into a GET; give the address that answers without a redirect",
    ),
    (r"resourceid parameter must be used", "this server wants the kind of the resource as well"),
    (r"checksum algorithm not recognised", "the form is {SHA-256} and 64 lower-case digits"),
    (
        r"checksum .* didn't match",
        "the URL serves another file than the one that was built; upload that one again, then "
        "isobuilder mold check ISO --url URL --download-check",
    ),
    (
        r"due to redirection, response code",
        "give the final address, or isobuilder mold setting store.download.follow.redirects true",
    ),
    (
        r"returned 30[12378]",
        "the URL answers with a redirect that is not followed (308 never is): give the final "
        "address",
    ),
    (r"expected 200 OK", "the URL is wrong or asks for a login; open it without a login"),
    (
        r"partial get",
        "the connection broke in the middle of the file, and the web server cannot send the rest; "
        "run the same command again, or serve it from one that knows Range requests",
    ),
    (r"Storage Limit Reached", "the secondary storage is full: free space there, or add one"),
    (
        r"disconnected|Download canceled",
        "the secondary storage VM went away during the download; see that it runs, then run the "
        "same command again",
    ),
    (
        r"PKIX path building failed",
        "whoever downloads, mostly the secondary storage VM, does not trust that host's "
        "certificate: serve the ISO by http, its checksum is compared all the same, or add the "
        "certificate's CA to the keystore there",
    ),
    (
        r"UnknownHostException|Name or service not known",
        "the secondary storage VM cannot resolve the name of that host: look at the internal DNS "
        "of the zone, or give a URL with an address",
    ),
    (
        r"No space left on device",
        "the secondary storage, or the disk of its VM, is full: free space there, or add one",
    ),
    (
        r"Illegal host|No route to host|Network is unreachable",
        "the secondary storage VM cannot reach that host: for a private address add it to "
        "secstorage.allowed.internal.sites, else look at its network",
    ),
    (
        r"Connection refused|timed? ?out|Connection reset",
        "the secondary storage VM could not reach the URL: for a private address add it to "
        "secstorage.allowed.internal.sites, else look at its firewall",
    ),
    (r"receive length of download", "serve the ISO with a Content-Length"),
    (r"file size is too large", "raise max.template.iso.size (GB)"),
    (
        r"content is unsupported, or mismatch",
        "the URL did not serve an ISO; a login or error page looks like this",
    ),
    (r"check url\?", "the scheme must be http or https"),
)


def remedy_for(text: str) -> str | None:
    """Return what to do about a text of Mold, or None when we do not know."""
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, text, re.IGNORECASE):
            return remedy
    return None


class MoldRefused(MoldError):
    """Mold answered an error; carries its text, its numbers and the command."""

    def __init__(
        self, command: str, code: int, text: str, *, server: str = "", hint: str | None = None
    ) -> None:
        place = f"{server}: {command}" if server else command
        text = printable(text)
        super().__init__(
            f"{place}: Mold answered {code}: {text or 'no text'}", hint=hint or remedy_for(text)
        )
        self.server = server
        self.command = command
        self.code = code
        self.text = text

    def says(self, *patterns: str) -> bool:
        """Tell whether the text matches one of ``patterns``, without regard to case."""
        return any(re.search(pattern, self.text, re.IGNORECASE) for pattern in patterns)


class AccessRefused(MoldRefused):
    """Mold did not accept who we are, or what this key may do; ``cause`` says which.

    ``cause`` is one of ``key``, ``clock``, ``signature``, ``plugin``, ``command``, ``role``,
    ``second-factor``.
    """

    def __init__(self, refused: MoldRefused, *, cause: str, hint: str) -> None:
        super().__init__(
            refused.command, refused.code, refused.text, server=refused.server, hint=hint
        )
        self.cause = cause


class MoldUnreachable(UpstreamError):
    """No usable answer from the server within the time given; trying later may help."""


class OutcomeUnknown(MoldUnreachable):
    """A change was sent and its answer was lost: it may have been made or not.

    Whoever asked has to look before asking again.
    """


class StrangeAnswer(MoldError):
    """The server answered something that is not the API's language."""


def error_fields(body: Any) -> tuple[int | None, str]:
    """Return the number and the text of an error answer; tolerant of missing fields."""
    if not isinstance(body, dict):
        return None, ""
    code = body.get("errorcode")
    text = body.get("errortext")
    return (code if isinstance(code, int) else None), (text if isinstance(text, str) else "")
