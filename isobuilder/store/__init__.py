"""The local disk: blobs named by their content, shared by all builds of a user."""

from isobuilder.store.blobs import Blob, ProvedStore, Store, copy_to, default_root, open_store
from isobuilder.store.partial import Origin, Partial, partial_of
from isobuilder.store.upkeep import (
    CheckReport,
    Collected,
    Damage,
    Stored,
    check,
    collect,
    hold_collections,
    lease,
    quarantine,
    stored,
)

__all__ = [
    "Blob",
    "CheckReport",
    "Collected",
    "Damage",
    "Origin",
    "Partial",
    "ProvedStore",
    "Store",
    "Stored",
    "check",
    "collect",
    "copy_to",
    "default_root",
    "hold_collections",
    "lease",
    "open_store",
    "partial_of",
    "quarantine",
    "stored",
]
