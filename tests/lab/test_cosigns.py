"""cosign of two versions, both as their authors release them, and we read each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.pipeline.build import Built
from tests.pipeline.conftest import built, full_store, locked, world
from tests.pipeline.signed import copied
from tests.trust.cosigning import assert_both_read_each_other, run
from tools.lab import golang
from tools.lab.place import lab_dir

__all__ = ["built", "full_store", "locked", "world"]

pytestmark = [pytest.mark.sigstore, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("module", ["cosign-2.5", "cosign"])
def test_cosign_of_each_version_and_we_read_each_other(
    built: Built, module: str, tmp_path: Path
) -> None:
    program = golang.built(lab_dir(), golang.Go(lab_dir() / "go"), module) / "cosign"
    assert run(program, tmp_path, "version").returncode == 0
    assert_both_read_each_other([program], copied(built, tmp_path / "dist"), tmp_path)
