"""What a released program says of its build; what is not identical is told with its place.

Building itself takes minutes and Go: `make rebuild`.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest

from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.elf import sections_of
from isobuilder.pipeline.provenance.rebuild import RebuildPlace, rebuilt
from isobuilder.sources.session import Session
from isobuilder.trust.rebuild.proof import first_difference
from isobuilder.trust.rebuild.rules import RULES
from isobuilder.trust.rebuild.source import SourceTree, Toolchain
from isobuilder.trust.rebuild.stamps import read_stamps
from tests.pipeline.world import Locked

TRUE = Path(shutil.which("true") or "/bin/true")


KUBECTL = Path(sys.executable).with_name("kubectl")
"""Upstream's own program, which a library of development brings."""


def test_upstreams_kubectl_says_how_it_was_built() -> None:
    with KUBECTL.open("rb") as stream:
        stamps = read_stamps(stream, "kubectl")
    assert stamps.version.startswith("1.37.")
    assert len(stamps.commit) == 40
    assert stamps.committed <= stamps.date
    assert stamps.values()["gitMinor"] == "37"
    go = Toolchain(Path("go"), Path("/caches"), "off", "sums", stamps.go)
    words = SourceTree(go, RULES["kubectl"], stamps, Path("/work")).command(Path("/out"))
    (flags,) = [word for word in words if word.startswith("-ldflags=all=")]
    assert flags.index(f"client-go/pkg/version.buildDate={stamps.date}") < flags.index("gitCommit")
    assert flags.endswith("  -s -w")
    assert words[-1] == "k8s.io/kubernetes/cmd/kubectl"


@pytest.mark.parametrize(
    ("data", "fact"),
    [(b"#!/bin/sh\n", "expected a Linux program"), (TRUE.read_bytes(), "does not say its version")],
    ids=["a script", "another program"],
)
def test_what_is_no_program_of_kubernetes_is_refused(data: bytes, fact: str) -> None:
    with pytest.raises(IntegrityError, match=fact):
        read_stamps(io.BytesIO(data), "kubeadm")


def test_the_first_section_that_differs_is_named(tmp_path: Path) -> None:
    data = TRUE.read_bytes()
    sections = sections_of(io.BytesIO(data), "true")
    made = tmp_path / "true"
    for name in (".text", ".rodata"):
        at = sections[name][0] + 5
        made.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert first_difference(io.BytesIO(data), made) == f"{name}, byte {at}"
    made.write_bytes(data[:-1])
    assert f"byte {len(data) - 1}" in first_difference(io.BytesIO(data), made)
    both = bytearray(data)
    for name in (".text", ".rodata"):
        both[sections[name][0] + 5] ^= 1
    made.write_bytes(both)
    told = first_difference(io.BytesIO(data), made)
    assert told == f".text, byte {sections['.text'][0] + 5}; .rodata as well"
    made.write_bytes(data + b"more")
    assert first_difference(io.BytesIO(data), made).endswith(f"the headers, byte {len(data)}")


def test_a_section_that_lies_elsewhere_is_compared_with_the_one_of_its_name(tmp_path: Path) -> None:
    """As when another compiler makes more of what stands before it: the headers differ as well."""
    data = TRUE.read_bytes()
    sections = sections_of(io.BytesIO(data), "true")
    row, names = section_row(data, ".rodata")
    offset, size = sections[".rodata"]
    moved = data + bytes(8) + data[offset : offset + size]
    made = tmp_path / "true"
    for change in (0, 1):
        other = bytearray(moved)
        other[row + 24 : row + 32] = (len(data) + 8).to_bytes(8, "little")
        other[len(data) + 8 + 3] ^= change
        made.write_bytes(other)
        told = first_difference(io.BytesIO(data), made)
        assert told == (f".rodata, byte {offset + 3}" if change else f"{NOT_IN_ONE}{row + 24}")
    assert names


NOT_IN_ONE = "no section but the headers, byte "


def section_row(data: bytes, name: str) -> tuple[int, int]:
    """Return where in an ELF file the header of a section is, and that of its names."""
    begin = int.from_bytes(data[40:48], "little")
    count, names_row = (int.from_bytes(data[at : at + 2], "little") for at in (60, 62))
    names = begin + 64 * names_row
    texts = int.from_bytes(data[names + 24 : names + 32], "little")
    for row in range(begin, begin + 64 * count, 64):
        at = texts + int.from_bytes(data[row : row + 4], "little")
        if data[at:].startswith(name.encode() + b"\0"):
            return row, names
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "fact"),
    [("kubect", "has no file of that name"), ("crictl", "no rule says how it is built")],
)
def test_what_cannot_be_built_again_is_told_with_what_can(
    locked: Locked, session: Session, tmp_path: Path, name: str, fact: str
) -> None:
    with pytest.raises(InputError, match=fact) as caught:
        rebuilt(locked.lock, name, session, RebuildPlace(tmp_path))
    assert "kubeadm, " in str(caught.value.hint)


def test_a_locked_program_that_tells_nothing_of_its_build_is_refused(
    locked: Locked, session: Session, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="kubeadm: "):
        rebuilt(locked.lock, "kubeadm", session, RebuildPlace(tmp_path))
    assert list(tmp_path.iterdir()) == []
