"""Whether all of something is at an address, asked with as few bytes as that takes."""

from __future__ import annotations

from isobuilder.http.answer import Response
from isobuilder.http.client import Http
from isobuilder.text import whole_number

_FIRST = {"Range": "bytes=0-0"}


def is_there(http: Http, url: str, size: int, *, auth: str | None = None) -> bool:
    """Tell whether ``size`` bytes are where ``url`` leads; redirects are followed as by ``get``.

    HEAD would not do: addresses that a storage has signed are good for one method only.

    Raises:
        HttpFailure: neither that nor a clear no.
    """
    with http.get(url, headers=_FIRST, auth=auth, accept=(200, 206, 404, 416)) as response:
        if response.status == 200:  # a server that knows no ranges
            return _counted(response, size) == size
        total = response.headers.get("Content-Range", "").rpartition("/")[2].strip()
        if response.status == 206:
            return total == "*" or whole_number(total) == size
        return response.status == 416 and not size and whole_number(total) == 0


def _counted(response: Response, most: int) -> int:
    """Return how many bytes come; where nobody says so they are counted, to one beyond ``most``."""
    if response.length is not None:
        return response.length
    count = 0
    for piece in response.chunks():
        count += len(piece)
        if count > most:
            break
    return count
