"""Sending an ISO through Mold, for sites without a web server."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import requests

from isobuilder.errors import EnvironmentProblem, MoldError
from isobuilder.http.addresses import host_of
from isobuilder.http.failure import login_for_proxy, of_proxy
from isobuilder.http.proxies import proxy_of
from isobuilder.mold.api.client import MoldClient
from isobuilder.mold.api.errors import MoldUnreachable
from isobuilder.mold.api.records import UploadTicket
from isobuilder.mold.api.transport import unreachable
from isobuilder.progress import SILENT, Progress, Task, task
from isobuilder.text import masked, printable

log = logging.getLogger(__name__)

_CHUNK = 256 * 1024
_PATIENCE = 600.0  # seconds for the next bytes of an ISO to go, or an answer to come
_MOST_SAID = 16 * 1024  # bytes of a refusal that are read
_SAID = 200  # characters of them that are shown


class _Multipart:
    """A multipart form with the one file, read as it is sent; its length is known before."""

    def __init__(self, iso: Path, bar: Task) -> None:
        self.boundary = secrets.token_hex(16)
        self._iso = iso
        self._bar = bar
        self._head = (
            f"--{self.boundary}\r\n"
            f'Content-Disposition: form-data; name="files[]"; filename="{iso.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{self.boundary}--\r\n".encode()
        self._length = len(self._head) + iso.stat().st_size + len(self._tail)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        with self._iso.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
                self._bar.advance(len(chunk))
        yield self._tail


def send_file(
    client: MoldClient, ticket: UploadTicket, iso: Path, *, progress: Progress = SILENT
) -> None:
    """Send ``iso`` to where the ticket says (contract D.6).

    Raises:
        MoldUnreachable: the address does not answer or broke off.
        MoldError: it refused the file.
        EnvironmentProblem: the file cannot be read.
    """
    host = host_of(ticket.postURL) or "?"
    place, proxy = f"upload to {host}", proxy_of(ticket.postURL)
    if ticket.postURL.startswith("https://"):
        client.trust_system()
    try:
        size = iso.stat().st_size
        with task(progress, f"upload {iso.name}", total=size) as bar:
            form = _Multipart(iso, bar)
            pace = client.pace(_PATIENCE)
            with pace.watching():
                response = client.session.post(
                    ticket.postURL,
                    data=form,
                    headers={
                        "Content-Type": f"multipart/form-data; boundary={form.boundary}",
                        "x-signature": ticket.signature,
                        "x-expires": ticket.expires,
                        "x-metadata": ticket.metadata,
                    },
                    timeout=(10.0, _PATIENCE),
                    verify=client.verify,
                    allow_redirects=False,
                    stream=True,
                )
    except requests.exceptions.SSLError as error:
        raise MoldUnreachable(
            f"{place}: its certificate is not trusted",
            hint="set secstorage.ssl.cert.domain and upload a certificate, or give the private "
            "authority with --ca-file",
        ) from error
    except requests.exceptions.ProxyError as error:
        raise unreachable(of_proxy(place, error, proxy)) from None
    except requests.exceptions.RequestException as error:
        raise MoldUnreachable(
            f"{place}: the connection broke ({type(error).__name__})",
            hint="this machine must reach the secondary storage VM; run the same command again",
        ) from error
    except OSError as error:
        raise EnvironmentProblem(f"{iso}: cannot be read: {error.strerror}") from error
    with response:
        if response.status_code == 407 and proxy is not None:
            raise unreachable(login_for_proxy(place, proxy))
        if response.status_code not in {200, 201}:
            pace.head_is_there()
            hidden = proxy.secrets if proxy else ()
            said = _begin(response, [ticket.signature, ticket.metadata, *hidden])
            raise MoldError(
                f"{place}: HTTP {response.status_code}: {said}",
                hint="the ticket may have expired; run the same command again",
            )


def _begin(response: requests.Response, secrets: Iterable[str]) -> str:
    """Return the begin of what a server says of its refusal, as far as it comes."""
    try:
        data = next(response.iter_content(_MOST_SAID), b"")
    except (requests.exceptions.RequestException, OSError):
        data = b""
    said = masked(" ".join(data.decode("utf-8", "replace").split()), secrets)
    return printable(said, _SAID)
