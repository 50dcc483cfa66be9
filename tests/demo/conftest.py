"""A finished ISO and the web server that has it, as the tests of the Mold client use them."""

from __future__ import annotations

from tests.mold.conftest import publish, published, web

__all__ = ["publish", "published", "web"]
