"""isobuilder turns a Kubernetes version into an ISO that a cloud can run.

This is the front door for Python: what the command line does, one function each, by the same
functions that it calls. Names are imported when they are first used, because most programs need
few of them. docs/python.md shows them at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isobuilder.errors import IsobuilderError
    from isobuilder.model.config import read_config
    from isobuilder.model.loading import load_lock, load_recipe
    from isobuilder.mold.api.commands import Mold
    from isobuilder.mold.api.credentials import MoldServer, read_key_file
    from isobuilder.mold.catalogue import read_registration
    from isobuilder.mold.register import register
    from isobuilder.mold.request import RegistrationRequest
    from isobuilder.pipeline.boot import try_boot as boot
    from isobuilder.pipeline.build import build
    from isobuilder.pipeline.build import check as reproduce
    from isobuilder.pipeline.compare import diff
    from isobuilder.pipeline.delta.apply import apply_deltas
    from isobuilder.pipeline.delta.make import make_delta
    from isobuilder.pipeline.fetch import fetch, plan
    from isobuilder.pipeline.lock import find_lock
    from isobuilder.pipeline.lock import lock_recipe as lock
    from isobuilder.pipeline.matrix import cells_of, status_of
    from isobuilder.pipeline.sbom import bill_of
    from isobuilder.pipeline.verify import verify
    from isobuilder.site.bundles.carry import export_bundle, import_carried
    from isobuilder.site.check import check_bundles, check_iso_here
    from isobuilder.site.ledgers.ledger import among, make_ledger
    from isobuilder.site.ledgers.signed import read_brought as read_ledger
    from isobuilder.site.ledgers.signed import sign_ledger
    from isobuilder.site.parity import heal, protect
    from isobuilder.site.push import push_isos
    from isobuilder.site.repair import repair
    from isobuilder.site.server import SiteServer
    from isobuilder.site.shelf import Shelf
    from isobuilder.site.upgrades import ways as upgrade_ways
    from isobuilder.sources.session import Session, open_session

__version__ = "0.2.0"

__all__ = [
    "IsobuilderError",
    "Mold",
    "MoldServer",
    "RegistrationRequest",
    "Session",
    "Shelf",
    "SiteServer",
    "among",
    "apply_deltas",
    "bill_of",
    "boot",
    "build",
    "cells_of",
    "check_bundles",
    "check_iso_here",
    "diff",
    "export_bundle",
    "fetch",
    "find_lock",
    "heal",
    "import_carried",
    "load_lock",
    "load_recipe",
    "lock",
    "make_delta",
    "make_ledger",
    "open_session",
    "plan",
    "protect",
    "push_isos",
    "read_config",
    "read_key_file",
    "read_ledger",
    "read_registration",
    "register",
    "repair",
    "reproduce",
    "sign_ledger",
    "status_of",
    "upgrade_ways",
    "verify",
]

_HOMES = {
    "IsobuilderError": "isobuilder.errors:IsobuilderError",
    "Mold": "isobuilder.mold.api.commands:Mold",
    "MoldServer": "isobuilder.mold.api.credentials:MoldServer",
    "RegistrationRequest": "isobuilder.mold.request:RegistrationRequest",
    "Session": "isobuilder.sources.session:Session",
    "Shelf": "isobuilder.site.shelf:Shelf",
    "SiteServer": "isobuilder.site.server:SiteServer",
    "among": "isobuilder.site.ledgers.ledger:among",
    "apply_deltas": "isobuilder.pipeline.delta.apply:apply_deltas",
    "bill_of": "isobuilder.pipeline.sbom:bill_of",
    "boot": "isobuilder.pipeline.boot:try_boot",
    "build": "isobuilder.pipeline.build:build",
    "cells_of": "isobuilder.pipeline.matrix:cells_of",
    "check_bundles": "isobuilder.site.check:check_bundles",
    "check_iso_here": "isobuilder.site.check:check_iso_here",
    "diff": "isobuilder.pipeline.compare:diff",
    "export_bundle": "isobuilder.site.bundles.carry:export_bundle",
    "fetch": "isobuilder.pipeline.fetch:fetch",
    "find_lock": "isobuilder.pipeline.lock:find_lock",
    "heal": "isobuilder.site.parity:heal",
    "import_carried": "isobuilder.site.bundles.carry:import_carried",
    "load_lock": "isobuilder.model.loading:load_lock",
    "load_recipe": "isobuilder.model.loading:load_recipe",
    "lock": "isobuilder.pipeline.lock:lock_recipe",
    "make_delta": "isobuilder.pipeline.delta.make:make_delta",
    "make_ledger": "isobuilder.site.ledgers.ledger:make_ledger",
    "open_session": "isobuilder.sources.session:open_session",
    "plan": "isobuilder.pipeline.fetch:plan",
    "protect": "isobuilder.site.parity:protect",
    "push_isos": "isobuilder.site.push:push_isos",
    "read_config": "isobuilder.model.config:read_config",
    "read_key_file": "isobuilder.mold.api.credentials:read_key_file",
    "read_ledger": "isobuilder.site.ledgers.signed:read_brought",
    "read_registration": "isobuilder.mold.catalogue:read_registration",
    "register": "isobuilder.mold.register:register",
    "repair": "isobuilder.site.repair:repair",
    "reproduce": "isobuilder.pipeline.build:check",
    "sign_ledger": "isobuilder.site.ledgers.signed:sign_ledger",
    "status_of": "isobuilder.pipeline.matrix:status_of",
    "upgrade_ways": "isobuilder.site.upgrades:ways",
    "verify": "isobuilder.pipeline.verify:verify",
}


def __getattr__(name: str) -> Any:
    """Import a name of the front door when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the names of the front door."""
    return sorted([*_HOMES, "__version__"])
