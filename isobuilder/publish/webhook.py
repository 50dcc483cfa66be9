"""A POST that tells what a run did, signed so that whoever gets it knows by whom.

Source of the form: GitHub's "Validating webhook deliveries": ``X-Hub-Signature-256`` is
``sha256=`` and the HMAC of the body, in hexadecimal digits.
"""

from __future__ import annotations

import hmac
import logging
from pathlib import Path
from urllib.parse import urlsplit

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, UpstreamError
from isobuilder.files import read_bytes
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.model.policy import Webhook

_log = logging.getLogger(__name__)

_MOST_SAID = 64 * 1024  # bytes of an answer
_MOST_SECRET = 4096  # bytes
_TAKEN = (200, 201, 202, 204)


def post(http: Http, hook: Webhook, body: bytes) -> None:
    """Send ``body``, JSON, and try again while that may help.

    The same body has the same ``X-Isobuilder-Delivery``, so that one that came twice is known.
    Errors name the host alone: many such addresses are secrets.

    Raises:
        UpstreamError: nobody took it.
        EnvironmentProblem: the secret cannot be read.
    """
    headers = {
        "Content-Type": "application/json",
        "X-Isobuilder-Delivery": Digest.of(body).hex,
    }
    if hook.secret_file is not None:
        digits = hmac.new(_secret(Path(hook.secret_file)), body, "sha256").hexdigest()
        headers["X-Hub-Signature-256"] = f"sha256={digits}"
    place = f"webhook at {urlsplit(hook.url).netloc}"
    patience = http.patience()
    while True:
        try:
            http.upload(
                "POST",
                hook.url,
                body,
                limit=_MOST_SAID,
                headers=headers,
                accept=_TAKEN,
                shown=place,
            )
        except HttpFailure as failure:
            try:
                patience.wait_after(failure)
            except HttpFailure:
                raise UpstreamError(f"{place}: {_why(failure)}") from None
            _log.info("%s: %s; trying again", place, _why(failure))
        else:
            return


def _why(failure: HttpFailure) -> str:
    return f"answered {failure.status}" if failure.status else "no answer"


def _secret(path: Path) -> bytes:
    try:
        lines = read_bytes(path, _MOST_SECRET).splitlines()
    except InputError as error:
        raise EnvironmentProblem(f"secret_file of the webhook: {error}") from None
    if not lines or not lines[0]:
        raise EnvironmentProblem(f"{path}: its first line is empty, expected a secret")
    return lines[0]
