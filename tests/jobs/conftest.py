from __future__ import annotations

from tests.pipeline.conftest import full_store, locked, world

__all__ = ["full_store", "locked", "world"]
