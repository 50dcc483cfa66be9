"""The address that a site's own server gives an ISO, and whether it is the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.errors import InputError, IntegrityError, UpstreamError
from isobuilder.http.client import Http
from isobuilder.mold.site import address_at_site
from isobuilder.site.server import SiteLogin, SiteServer
from isobuilder.site.shelf import Shelf
from tests.mold.conftest import registration_of
from tests.site.isos import PAUSE, image, iso


@pytest.fixture
def site(tmp_path: Path) -> SiteServer:
    path = iso(tmp_path / registration_of().filename, [image(PAUSE)])
    shelf = Shelf([path])
    shelf.open()
    return SiteServer(shelf)


def test_the_iso_is_found_by_its_name_and_sum(site: SiteServer, tmp_path: Path, http: Http) -> None:
    name = registration_of().filename
    registration = registration_of(data=(tmp_path / name).read_bytes())
    with site:
        for given in (site.url, f"{site.url}/", f" {site.url}\n"):
            assert address_at_site(http, given, registration) == f"{site.url}/isos/{name}"


def test_other_bytes_under_the_name_are_refused(site: SiteServer, http: Http) -> None:
    with site, pytest.raises(IntegrityError, match=r"it serves SHA-256 \w+, the ISO has \w+"):
        address_at_site(http, site.url, registration_of(data=b"other"))


def test_an_iso_that_is_not_served_is_told(site: SiteServer, http: Http) -> None:
    with site, pytest.raises(UpstreamError, match=r"it does not serve kubernetes-v1\.35\.4"):
        address_at_site(http, site.url, registration_of("1.35.4"))


def test_a_site_at_which_mold_cannot_log_in_is_told(
    site: SiteServer, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "_login", SiteLogin("ann", "secret"))
    with site, pytest.raises(UpstreamError, match="wants a login, and Mold has none") as caught:
        address_at_site(http, site.url, registration_of())
    assert "without --user" in str(caught.value.hint)


@pytest.mark.parametrize(
    "given",
    [
        *("site.example", "ftp://x", "http://ann:secret@x", "http://[", ""),
        *(
            "http://a b",
            "http://x:99999",
            "http://x:0",
            "http://x:y",
            "http://x/a b",
            "http://x\ty",
        ),
    ],
)
def test_what_is_no_address_is_refused(given: str, http: Http) -> None:
    with pytest.raises(InputError, match=r"--from-site: expected http") as caught:
        address_at_site(http, given, registration_of())
    assert "secret" not in str(caught.value)
