"""Why a server refused access: one text has several causes, told apart by asking again."""

from __future__ import annotations

from datetime import UTC, timedelta

from isobuilder.errors import MoldError
from isobuilder.mold.api.errors import CREDENTIALS_TEXT, AccessRefused, MoldRefused, OutcomeUnknown
from isobuilder.mold.api.transport import EXPIRY, RequestLost, SigningMode, Transport


def explain_refusal(transport: Transport, refused: MoldRefused) -> MoldRefused:
    """Return the refusal with its cause, where its text has several (contract E.3, D.12)."""
    command, code, text = refused.command, refused.code, refused.text
    if code == 411:
        return AccessRefused(
            refused,
            cause="second-factor",
            hint="this user has a second factor; use a key pair for automation",
        )
    if command == "login" and code in {401, 531}:
        return AccessRefused(
            refused, cause="key", hint="check the user's name, password and domain"
        )
    if code == 432 and refused.says(r"does not exist|not available|unknown"):
        for_account = refused.says(r"does not exist or is not available for the account")
        return (_role if for_account else _command_missing)(transport, refused)
    if code != 401:
        return refused
    if CREDENTIALS_TEXT not in text.lower():
        return _role(transport, refused)
    return _why_not_verified(transport, refused)


def _role(transport: Transport, refused: MoldRefused) -> MoldRefused:
    if "kubernetes" in refused.command.lower() and _service_enabled(transport) is False:
        return _command_missing(transport, refused)
    return AccessRefused(
        refused,
        cause="role",
        hint="the role of this key, or a rule of the key pair, does not allow the command; "
        "managing versions needs a root administrator's key",
    )


def _why_not_verified(transport: Transport, refused: MoldRefused) -> MoldRefused:
    command = refused.command
    usual = transport.usual
    if command != "listCapabilities" and _accepts(transport, usual):
        return _command_missing(transport, refused)
    far = transport.skew is not None and abs(transport.skew) > EXPIRY - 30
    if _accepts(transport, SigningMode(usual.algorithm, expires=None)) or far:
        return AccessRefused(refused, cause="clock", hint=_clock_hint(transport))
    other = usual.algorithm.other
    if _accepts(transport, SigningMode(other, expires=None)) or _accepts(
        transport, SigningMode(other)
    ):
        return AccessRefused(
            refused,
            cause="signature",
            hint=f"this server verifies {other}, the profile says {usual.algorithm}; "
            f"set signature: {other} or give --signature {other}",
        )
    return AccessRefused(
        refused,
        cause="key",
        hint="wrong key pair, one outside its dates, or its user or account is disabled "
        f"(keys from: {transport.server.origin or 'the caller'})",
    )


def _clock_hint(transport: Transport) -> str:
    ours = transport.clock.now().astimezone(UTC)
    if transport.skew is None:
        return f"the request had expired on arrival; here it is {ours:%Y-%m-%d %H:%M:%S} UTC"
    theirs = ours + timedelta(seconds=transport.skew)
    return (
        f"the clocks disagree: here {ours:%Y-%m-%d %H:%M:%S}, there "
        f"{theirs:%Y-%m-%d %H:%M:%S} UTC; set both by NTP"
    )


def _command_missing(transport: Transport, refused: MoldRefused) -> MoldRefused:
    command = refused.command
    enabled = _service_enabled(transport)
    # Every role may list versions. What the server says of the service is its setting, which
    # counts from its next start on: only a command tells whether it runs.
    off = enabled is False or (enabled and command == "listKubernetesSupportedVersions")
    if "kubernetes" in command.lower() and off:
        state = "off" if enabled is False else "switched on, but not yet running"
        return AccessRefused(
            refused,
            cause="plugin",
            hint=f"the key is right, the Kubernetes service is {state}: set "
            "cloud.kubernetes.service.enabled to true and restart the management server "
            "(isobuilder mold check --fix does the first half)",
        )
    return AccessRefused(
        refused,
        cause="command",
        hint=f"the key is right; this server has no {command}, or this role may not use it",
    )


def _service_enabled(transport: Transport) -> bool | None:
    try:
        answer = transport.try_once("listCapabilities", {}, transport.usual)
    except (RequestLost, MoldError):
        return None
    capability = answer.get("capability")
    if not isinstance(capability, dict):
        return None
    enabled = capability.get("kubernetesserviceenabled")
    return enabled if isinstance(enabled, bool) else None


def clock_offset(transport: Transport, most: float) -> str | None:
    """Return how the server's clock differs by more than ``most`` seconds, None if it does not.

    No server has to send a ``Date``, and CloudStack sends none; but it says whether it takes a
    request that expires ``most`` seconds from now, or has expired so long ago.
    """
    usual = transport.usual.algorithm
    if not _accepts(transport, SigningMode(usual, expires=most)):
        # Unless it takes nothing at all by now.
        return f"more than {most:.0f} s ahead" if _accepts(transport, transport.usual) else None
    if _accepts(transport, SigningMode(usual, expires=-most)):
        return f"more than {most:.0f} s behind"
    return None


def _accepts(transport: Transport, manner: SigningMode) -> bool:
    """Tell whether the server answers a call that every role may make."""
    try:
        transport.try_once("listCapabilities", {}, manner)
    except (RequestLost, MoldError, OutcomeUnknown):
        return False
    return True
