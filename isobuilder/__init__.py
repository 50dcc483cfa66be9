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
    from isobuilder.pipeline.fetch import fetch, plan
    from isobuilder.pipeline.lock import find_lock
    from isobuilder.pipeline.lock import lock_recipe as lock
    from isobuilder.pipeline.matrix import cells_of, status_of
    from isobuilder.pipeline.sbom import bill_of
    from isobuilder.pipeline.verify import verify
    from isobuilder.sources.session import Session, open_session

__version__ = "0.2.0"

__all__ = [
    "IsobuilderError",
    "Mold",
    "MoldServer",
    "RegistrationRequest",
    "Session",
    "bill_of",
    "boot",
    "build",
    "cells_of",
    "diff",
    "fetch",
    "find_lock",
    "load_lock",
    "load_recipe",
    "lock",
    "open_session",
    "plan",
    "read_config",
    "read_key_file",
    "read_registration",
    "register",
    "reproduce",
    "status_of",
    "verify",
]

_HOMES = {
    "IsobuilderError": "isobuilder.errors:IsobuilderError",
    "Mold": "isobuilder.mold.api.commands:Mold",
    "MoldServer": "isobuilder.mold.api.credentials:MoldServer",
    "RegistrationRequest": "isobuilder.mold.request:RegistrationRequest",
    "Session": "isobuilder.sources.session:Session",
    "bill_of": "isobuilder.pipeline.sbom:bill_of",
    "boot": "isobuilder.pipeline.boot:try_boot",
    "build": "isobuilder.pipeline.build:build",
    "cells_of": "isobuilder.pipeline.matrix:cells_of",
    "diff": "isobuilder.pipeline.compare:diff",
    "fetch": "isobuilder.pipeline.fetch:fetch",
    "find_lock": "isobuilder.pipeline.lock:find_lock",
    "load_lock": "isobuilder.model.loading:load_lock",
    "load_recipe": "isobuilder.model.loading:load_recipe",
    "lock": "isobuilder.pipeline.lock:lock_recipe",
    "open_session": "isobuilder.sources.session:open_session",
    "plan": "isobuilder.pipeline.fetch:plan",
    "read_config": "isobuilder.model.config:read_config",
    "read_key_file": "isobuilder.mold.api.credentials:read_key_file",
    "read_registration": "isobuilder.mold.catalogue:read_registration",
    "register": "isobuilder.mold.register:register",
    "reproduce": "isobuilder.pipeline.build:check",
    "status_of": "isobuilder.pipeline.matrix:status_of",
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
