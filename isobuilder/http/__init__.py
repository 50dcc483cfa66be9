"""The only opener of outgoing connections: redirects, retries, rates, redaction."""

from isobuilder.http.access import access_to, configured_login
from isobuilder.http.addresses import climbs, local_folder, redact
from isobuilder.http.answer import Answer, Response
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.pacing import Pause, RateLimit, RetryBudget
from isobuilder.http.settings import HttpSettings, ServerAccess

__all__ = [
    "Answer",
    "Http",
    "HttpFailure",
    "HttpSettings",
    "Pause",
    "RateLimit",
    "Response",
    "RetryBudget",
    "ServerAccess",
    "access_to",
    "climbs",
    "configured_login",
    "local_folder",
    "redact",
]
