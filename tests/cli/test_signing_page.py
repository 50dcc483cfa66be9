"""The page about signing is typed, on the demo's ISO."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from isobuilder.pipeline.build import Built
from tests.jobs.pages import Shell, blocks_of
from tests.pipeline.signed import copied, new_key, openssl


def test_the_page_is_followed_word_for_word(built: Built, tmp_path: Path) -> None:
    iso = copied(built, tmp_path / "dist")
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = Shell(tmp_path, {"PATH": programs, "HOME": str(tmp_path)})
    new_key(tmp_path, "other")
    first, second, listed = blocks_of("signing-isos.md")
    assert "signed by release (sha256:" in shell.type(first)
    said = shell.type(second)
    assert "signed by other (sha256:" in said
    assert "good: dist/" in said
    assert "signed by release-2026 (sha256:" in shell.type(listed)
    assert len(list(iso.parent.glob("*.sigstore.json"))) == 2
    assert (
        openssl("pkey", "-in", tmp_path / "release.pem", "-pubout")
        == (tmp_path / "release.pub").read_bytes()
    )


@pytest.mark.parametrize("page", ["signing-isos.md", "ko/signing-isos.md"])
def test_both_pages_are_typed_alike(page: str) -> None:
    assert blocks_of(page) == blocks_of("signing-isos.md")
