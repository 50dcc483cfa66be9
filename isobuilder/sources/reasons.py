"""What a server says about its refusal, in its own words: they often tell what to do.

Sources: OCI distribution specification 1.1, "Error Codes" (``errors``); RFC 6749, 5.2
(``error_description``); Amazon S3's error responses (XML).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from isobuilder.documents.json import TOKEN, JsonProblem, value_of
from isobuilder.errors import IsobuilderError
from isobuilder.http.addresses import redact
from isobuilder.http.answer import Answer
from isobuilder.http.failure import REFUSED_HINT, HttpFailure, of_status
from isobuilder.text import masked, printable

_MOST = 300  # characters of all that it says
_KEYS = ("code", "error", "message", "error_description", "error_message", "details", "detail")
_OF_PUSHING = {
    403: "look at the rights of the login there, at quotas and at rules for tags",
    404: "check the address; at some registries the project has to be there first",
    **dict.fromkeys(
        (301, 302, 303, 307, 308),
        "it leads elsewhere, to a page for logins perhaps; name the registry's own address",
    ),
    507: "make room at the registry, then push again",
}
_NOT_TAKEN = "is it read-only, or is there a limit? ask who runs the registry"
_XML = re.compile(r"<(Code|Message)>([^<]{1,300})</\1>")


def with_reason(error: IsobuilderError) -> IsobuilderError:
    """Return ``error``, and what the server said with it, if it is a server's."""
    if not isinstance(error, HttpFailure):
        return error
    words = reason_in(error.said, error.headers.get("Content-Type", ""), error.secrets)
    return error.saying(words) if words else error


def why_refused(failure: HttpFailure) -> IsobuilderError:
    """Return why a registry does not take something: its words, and a hint for whoever pushes."""
    status = failure.status
    usual = None if status is None else of_status("", status, "", {}).hint
    if status in _OF_PUSHING and failure.hint == usual:  # not of a login in a file
        failure.hint = _OF_PUSHING[status]
    elif failure.hint == REFUSED_HINT:  # which is about mirrors
        failure.hint = _NOT_TAKEN
    return with_reason(failure)


def refuse_other_door(answer: Answer) -> None:
    """Raise if a redirect leads to the same path at the same host: to https, most often."""
    try:
        here, there = urlsplit(answer.url), urlsplit(answer.headers.get("Location", ""))
    except ValueError:  # where that is, is for others to find out
        return
    same_path = (there.hostname, there.path) == (here.hostname, here.path)
    if same_path and (there.scheme, there.netloc) != (here.scheme, here.netloc):
        raise HttpFailure(
            f"{redact(answer.url)}: the registry is at {there.scheme}://{there.netloc}",
            temporary=False,
            hint="name that with --registry",
        )


def reason_in(body: bytes, kind: str, secrets: Iterable[str] = ()) -> str:
    """Return what the body of an answer says in short; empty for pages, and for nothing.

    ``kind`` is its media type, as the answer has it. None of ``secrets`` is told.
    """
    kind = kind.partition(";")[0].strip().lower()
    text = body.decode("utf-8", "replace").strip()
    if text.startswith(("{", "[")):
        try:
            found = list(_told(value_of(body, TOKEN)))
        except JsonProblem:
            found = []
    elif kind.endswith("xml"):
        found = [match[2].strip() for match in _XML.finditer(text)]
    elif kind == "text/plain":
        found = [text.partition("\n")[0].strip()]
    else:
        found = []
    told = ": ".join(dict.fromkeys(filter(None, found)))
    return printable(masked(told, secrets), _MOST)


def _told(value: object) -> Iterator[str]:
    """Yield the texts of an error, those of each entry of ``errors`` after one another."""
    if isinstance(value, list):
        for item in value[:3]:
            yield from _told(item)
    elif isinstance(value, dict):
        if value.get("errors"):
            yield from _told(value["errors"])
        else:
            told = (value.get(key) for key in _KEYS)
            for text in told:
                if isinstance(text, str):
                    yield text.strip()
                elif isinstance(text, dict):
                    yield from _told(text)
    elif isinstance(value, str):
        yield value.strip()
