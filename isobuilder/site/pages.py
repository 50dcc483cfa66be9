"""What people and programs look at: the page of what is served, in two languages, and its JSON."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from html import escape
from pathlib import PurePosixPath
from urllib.parse import quote

from isobuilder.http.replies import Reply
from isobuilder.medium import REPORT
from isobuilder.site.catalog import Catalog
from isobuilder.site.holding import Holding
from isobuilder.text import as_json, printable

ISOS, FILES, CATALOGUE = "/isos/", "/files/", "/catalogue/"

PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".atom": "application/atom+xml",
}
"""What the files of a catalogue are, by the ends of their names; there are no others."""

_TEXTS = {
    "en": {
        "title": "ISOs and images of this site",
        "isos": "ISOs",
        "files": "Files on",
        "images": "Images",
        "deltas": "Deltas: a new ISO for whoever has the old one",
        "makes": "makes",
        "of": "of",
        "size": "bytes",
        "sum": "SHA-256",
        "report": "report",
        "catalogue": "All about these ISOs",
        "none": "No ISO is served at the moment.",
        "warnings": "Not everything can be served",
        "use": "Nodes take images from here when containerd has this file for each registry:",
    },
    "ko": {
        "title": "이 사이트의 ISO와 이미지",
        "isos": "ISO",
        "files": "ISO에 든 파일:",
        "images": "이미지",
        "deltas": "델타: 이전 ISO가 있으면 새 ISO를 만들 수 있습니다",
        "makes": "새 ISO",
        "of": "이전 ISO",
        "size": "바이트",
        "sum": "SHA-256",
        "report": "보고서",
        "catalogue": "ISO에 대한 모든 정보",
        "none": "지금 제공하는 ISO가 없습니다.",
        "warnings": "제공할 수 없는 항목",
        "use": "각 레지스트리마다 containerd에 다음 파일을 두면 노드가 여기에서 이미지를 받습니다:",
    },
}
_STYLE = "body{font-family:sans-serif;max-width:75em;margin:2em auto}code,pre{font-size:90%}"
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Vary": "Accept-Language",
}


def _language_of(accepted: str) -> str:
    """Return the one of our languages that a browser likes best. Source: RFC 9110, 12.5.4."""
    best, weight = "en", 0.0
    for part in accepted.lower().split(",")[:20]:
        name, _, quality = part.partition(";q=")
        try:
            wanted = float(quality or 1)
        except ValueError:
            continue
        if name.strip()[:2] in _TEXTS and wanted > weight:
            best, weight = name.strip()[:2], wanted
    return best


def _quoted(name: str) -> str:
    return quote(name, errors="surrogateescape")


def _shown(text: str) -> str:
    """Return what others wrote as a page shows it, whole: no markup, and nothing is not seen."""
    return escape(printable(text, len(text) * 10))


def _iso_address(holding: Holding) -> str:
    """Return the path at which the whole ISO is."""
    return ISOS + _quoted(holding.name)


def _report_address(holding: Holding) -> str:
    """Return the path at which the page is that lies beside an ISO, if there is one."""
    return f"{_iso_address(holding).removesuffix('.iso')}.{REPORT}"


def index_page(catalog: Catalog, address: str, accepted: str, served: Container[str]) -> Reply:
    """Return the page of everything that is there; ``address`` is where we were reached.

    ``served`` has the paths of files, of which one may be the report of an ISO.
    """
    language = _language_of(accepted)
    body = "\n".join(_index(catalog, address, _TEXTS[language], served))
    return _page(body, language, _TEXTS[language]["title"])


def iso_page(holding: Holding, accepted: str) -> Reply:
    """Return the page of what lies on one ISO."""
    language = _language_of(accepted)
    text = _TEXTS[language]
    lines = [f"<h1>{text['files']} {_shown(holding.name)}</h1>", "<ul>"]
    for path, part in holding.files.items():
        place = FILES + _quoted(holding.name) + "/" + _quoted(path)
        known = holding.sums.get(path)
        told = f" <code>{known.hex}</code>" if known else ""
        shown = f"<a href='{escape(place)}'>{_shown(path)}</a>"
        lines.append(f"<li>{shown} {part.size} {text['size']}{told}</li>")
    return _page("\n".join([*lines, "</ul>"]), language, holding.name)


def _index(
    catalog: Catalog, address: str, text: Mapping[str, str], served: Container[str]
) -> Iterator[str]:
    yield f"<h1>{text['title']}</h1>"
    if CATALOGUE in served:
        yield f"<p><a href='{CATALOGUE}'>{text['catalogue']}</a></p>"
    if catalog.holdings:
        yield from _isos(catalog, text, served)
    else:
        yield f"<p>{text['none']}</p>"
    yield from _deltas(catalog, text)
    if catalog.holdings:
        yield from _images(catalog, address, text)
    if catalog.warnings:
        yield f"<h2>{text['warnings']}</h2><ul>"
        yield from (f"<li>{_shown(warning)}</li>" for warning in catalog.warnings)
        yield "</ul>"


def _isos(catalog: Catalog, text: Mapping[str, str], served: Container[str]) -> Iterator[str]:
    yield f"<h2>{text['isos']}</h2><ul>"
    for holding in catalog.holdings:
        place, name = escape(_iso_address(holding)), _shown(holding.name)
        report = _report_address(holding)
        more = f", <a href='{escape(report)}'>{text['report']}</a>" if report in served else ""
        inside = escape(FILES + _quoted(holding.name) + "/")
        yield (
            f"<li><a href='{place}'>{name}</a> {holding.iso.size} {text['size']}"
            f" (<a href='{place}.sha256'>{text['sum']}</a>,"
            f" <a href='{inside}'>{text['files']} {name}</a>{more})</li>"
        )
    yield "</ul>"


def _images(catalog: Catalog, address: str, text: Mapping[str, str]) -> Iterator[str]:
    yield f"<h2>{text['images']}</h2><p>{text['use']}</p>"
    yield f"<pre>{escape(_hosts_file(address, 'registry.k8s.io'))}</pre><ul>"
    for repository in sorted(catalog.repositories.values(), key=lambda found: found.name):
        for tag, digest in sorted(repository.tags.items()):
            yield f"<li><code>{_shown(repository.name)}:{_shown(tag)}</code> {digest}</li>"
    yield "</ul>"


def _deltas(catalog: Catalog, text: Mapping[str, str]) -> Iterator[str]:
    if not catalog.deltas:
        return
    yield f"<h2>{text['deltas']}</h2><ul>"
    for delta in catalog.deltas:
        found, place = delta.found, escape(ISOS + _quoted(delta.found.name))
        ways = "; ".join(
            f"{text['makes']} {_shown(way.new)}, {text['of']} "
            f"{_shown(', '.join(name for name, _ in way.olds))}"
            for way in found.ways
        )
        yield (
            f"<li><a href='{place}'>{_shown(found.name)}</a> {found.size} {text['size']}"
            f" (<a href='{place}.sha256'>{text['sum']}</a>): {ways}</li>"
        )
    yield "</ul>"


def _hosts_file(address: str, registry: str) -> str:
    """Return containerd's ``certs.d/<registry>/hosts.toml`` for images from ``address``."""
    server = "https://registry-1.docker.io" if registry == "docker.io" else f"https://{registry}"
    return (
        f"# /etc/containerd/certs.d/{registry}/hosts.toml\n"
        f'server = "{server}"\n\n'
        f'[host."{address}"]\n'
        '  capabilities = ["pull", "resolve"]\n'
    )


def site_json(catalog: Catalog, sums: Mapping[str, str | None]) -> Reply:
    """Return what is there for programs; ``sums`` has the SHA-256 of ISOs as far as it is known."""
    isos = [
        {
            "name": holding.name,
            "path": _iso_address(holding),
            "size": holding.iso.size,
            "sha256": sums.get(holding.name),
        }
        for holding in catalog.holdings
    ]
    images = {
        f"{repository.name}:{tag}": digest
        for repository in catalog.repositories.values()
        for tag, digest in repository.tags.items()
    }
    deltas = [
        {
            "name": one.found.name,
            "path": ISOS + _quoted(one.found.name),
            "size": one.found.size,
            "sha256": one.found.digest.hex,
            "makes": [way.to_data() for way in one.found.ways],
        }
        for one in catalog.deltas
    ]
    warnings = list(catalog.warnings)
    body = {"schema": 1, "isos": isos, "deltas": deltas, "images": images, "warnings": warnings}
    return Reply(
        200,
        {"Content-Type": "application/json"},
        as_json(body, indent=2).encode("utf-8", "replace"),
    )


def content_type(path: str) -> str:
    """Return the type of a file on an ISO: text as text, all else as bytes, never as a page."""
    texts = {".yaml", ".yml", ".txt", ".list", ".service", ".conf", ".sha256", ".cfg"}
    name = PurePosixPath(path)
    if name.suffix == ".json":
        return "application/json"
    is_text = name.suffix in texts or name.name == "SHA256SUMS"
    return "text/plain; charset=utf-8" if is_text else "application/octet-stream"


def _page(body: str, language: str, title: str) -> Reply:
    head = f"<meta charset='utf-8'><title>{_shown(title)}</title><style>{_STYLE}</style>"
    page = (
        f"<!doctype html><html lang='{language}'><head>{head}</head><body>\n{body}\n</body></html>"
    )
    return Reply(200, dict(_HEADERS), page.encode("utf-8", "replace"))
