from __future__ import annotations

from tests.pipeline.conftest import built, full_store, locked, world

__all__ = ["built", "full_store", "locked", "world"]
