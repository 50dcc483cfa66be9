"""A catalogue for programs: index.json, and the news as Atom and as JSON Feed.

Nobody told when an ISO was published, so news are dated by the time stamps on the ISOs, which are
those of the upstream release. Sources: RFC 4287; JSON Feed 1.1; RFC 6920 for the names of digests.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urljoin

from markupsafe import Markup

from isobuilder.model.base import canonical_json
from isobuilder.report.catalogue import CatalogueEntry, IsoCatalogue, sha256_of
from isobuilder.text import human_size

_NEWS = 50
"""ISOs in a feed."""

_TITLE = "Kubernetes ISOs"
_NOWHERE = (
    "urn:uuid:218e84f6-7765-55fa-bb3b-36a9c6b97f88"  # of a feed that does not know where it will be
)


def index_json(catalogue: IsoCatalogue) -> bytes:
    """Return everything that the table has, and what could not be read."""
    return canonical_json(
        {
            "schema": 1,
            "rules_as_of": str(catalogue.rules.as_of),
            "isos": [entry.to_data() for entry in catalogue.entries],
            "problems": list(catalogue.problems),
            "elsewhere": [
                {"server": server, "name": name, "kubernetes": version}
                for server, name, version in catalogue.elsewhere
            ],
        }
    )


def json_feed(catalogue: IsoCatalogue, address: str) -> bytes:
    """Return the newest ISOs as JSON Feed; ``address`` is where the site is, "" for anywhere."""
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": _TITLE,
        "items": [
            {
                "id": _identity(entry),
                "url": urljoin(address, entry.page),
                "title": _title(entry),
                "content_text": _summary(entry),
                "date_published": _time(entry),
            }
            for entry in _news(catalogue)
        ],
    }
    if address:
        feed |= {"home_page_url": address, "feed_url": urljoin(address, "feed.json")}
    return canonical_json(feed)


def atom_feed(catalogue: IsoCatalogue, address: str) -> bytes:
    """Return the newest ISOs as Atom."""
    news = _news(catalogue)
    entries = Markup().join(_ENTRY.format(**_parts(entry, address)) for entry in news)
    return _FEED.format(
        title=_TITLE,
        base=address,
        identity=address or _NOWHERE,
        updated=max((_time(entry) for entry in news), default="1970-01-01T00:00:00Z"),
        entries=entries,
    ).encode()


_FEED = Markup("""<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
<title>{title}</title>
<id>{identity}</id>
<updated>{updated}</updated>
<author><name>isobuilder</name></author>
<link rel="self" href="{base}feed.atom"/>
<link href="{base}index.html"/>
{entries}</feed>
""")
_ENTRY = Markup("""<entry>
<title>{title}</title>
<id>{identity}</id>
<updated>{updated}</updated>
<link href="{page}"/>
<summary>{summary}</summary>
</entry>
""")


def _parts(entry: CatalogueEntry, address: str) -> dict[str, str]:
    return {
        "title": _title(entry),
        "identity": _identity(entry),
        "updated": _time(entry),
        "page": urljoin(address, entry.page),
        "summary": _summary(entry),
    }


def _news(catalogue: IsoCatalogue) -> Sequence[CatalogueEntry]:
    return sorted(catalogue.entries, key=lambda one: (one.manifest.epoch, one.order), reverse=True)[
        :_NEWS
    ]


def _identity(entry: CatalogueEntry) -> str:
    packed = base64.urlsafe_b64encode(bytes.fromhex(sha256_of(entry).hex)).decode("ascii")
    return f"ni:///sha-256;{packed.rstrip('=')}"


def _title(entry: CatalogueEntry) -> str:
    return f"Kubernetes {entry.version}, {entry.kind}, r{entry.manifest.revision}"


def _summary(entry: CatalogueEntry) -> str:
    told = f"{entry.name}.iso, {human_size(entry.subject.size)}"
    return f"{told}, {entry.subject.digest}" if entry.subject.digest else told


def _time(entry: CatalogueEntry) -> str:
    moment = datetime.fromtimestamp(entry.manifest.epoch, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
