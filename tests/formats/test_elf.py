"""Programs are recognised by their bytes."""

from __future__ import annotations

import io
import platform
import struct
import subprocess
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobuilder.errors import IntegrityError
from isobuilder.formats.elf import BinaryFacts, describe, inspect_binary
from tests.fakes.elf import program
from tools.lab.place import lab_dir


def inspect(data: bytes) -> BinaryFacts:
    return inspect_binary(io.BytesIO(data), "k8s/kubeadm")


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("form", ["inline", "pointer"])
@pytest.mark.parametrize("sections", [True, False])
def test_a_go_program_tells_its_architecture_and_version(
    architecture: str, form: Literal["inline", "pointer"], sections: bool
) -> None:
    facts = inspect(program(architecture, form=form, sections=sections))
    assert facts.architecture == architecture
    assert facts.kind == "static"
    assert facts.go_version == "go1.24.6"
    assert facts.package == "k8s.io/kubernetes/cmd/kubeadm"
    assert facts.settings == {"-trimpath": "true"}
    assert facts.kubernetes_version == "1.34.12"


def test_the_linker_flags_tell_the_version_when_they_were_recorded() -> None:
    flags = r'build	-ldflags="-s -w -X \'k8s.io/component-base/version.gitVersion=v1.33.1\'"'
    facts = inspect(program(version=None, lines=("path\tx", flags.replace("\\'", "'"))))
    assert (facts.kubernetes_version, facts.stamped) == ("1.33.1", ())


def test_the_module_tells_the_version_when_go_stamped_it() -> None:
    facts = inspect(program(version=None, lines=("path\tx", "mod\tk8s.io/kubernetes\tv1.37.1\t")))
    assert (facts.module, facts.module_version) == ("k8s.io/kubernetes", "v1.37.1")
    assert facts.kubernetes_version == "1.37.1"


@pytest.mark.parametrize("version", ["(devel)", "v0.0.0-20250101000000-abcdefabcdef", ""])
def test_a_module_version_that_is_not_a_release_leaves_it_to_the_stamp(version: str) -> None:
    facts = inspect(program(lines=("path\tx", f"mod\tk8s.io/kubernetes\t{version}")))
    assert facts.kubernetes_version == "1.34.12"


def test_the_stamp_found_twice_wins_over_one_found_once() -> None:
    assert inspect(program(rodata=b"\0v3.2.1")).kubernetes_version == "1.34.12"


def test_two_stamps_found_equally_often_tell_nothing() -> None:
    facts = inspect(program(rodata=b"v3.2.1\0v3.2.1"))
    assert facts.stamped == ("v3.2.1", "v3.2.1", "v1.34.12", "v1.34.12")
    assert facts.kubernetes_version is None


@pytest.mark.parametrize("before", [262_144 - 128 - k for k in (0, 1, 60, 100, 127, 128, 200, 240)])
def test_a_stamp_is_found_once_wherever_a_buffer_ends(before: int) -> None:
    facts = inspect(program(rodata=bytes(before)))
    assert facts.stamped == ("v1.34.12", "v1.34.12")


def test_a_version_inside_a_word_is_not_a_stamp() -> None:
    assert inspect(program(version=None, rodata=b"rev1.2.3\0")).stamped == ()


def test_a_program_that_asks_for_a_loader_is_dynamic() -> None:
    assert inspect(program(dynamic=True)).kind == "dynamic"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"<!DOCTYPE html>\n<html>Not found", "an HTML page"),
        (b"\n <HTML><body>", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey", "an XML document"),
        (b"#!/bin/sh\n", "a script"),
        (b'{"errors":[]}', "JSON text"),
        (b"\x1f\x8b\x08", "gzip data"),
        (b"", "an empty file"),
        (b"Not Found\n", "text"),
        (b"\0\1\2\3", "data of an unknown kind"),
    ],
)
def test_what_is_not_a_program_is_named(data: bytes, found: str) -> None:
    with pytest.raises(IntegrityError, match=rf"k8s/kubeadm: expected a Linux .* found {found}$"):
        inspect(data)
    assert describe(data) == found


@pytest.mark.parametrize("keep", [10, 40, 63, 64, 100, 300])
def test_a_cut_off_program_is_refused(keep: int) -> None:
    with pytest.raises(IntegrityError, match="cut off"):
        inspect(program()[:keep])


def test_a_program_without_its_last_byte_is_refused() -> None:
    with pytest.raises(IntegrityError, match=r"its headers speak of \d+ bytes, it has \d+"):
        inspect(program()[:-1])


def test_an_object_file_is_not_a_program() -> None:
    data = bytearray(program())
    struct.pack_into("<H", data, 16, 1)
    with pytest.raises(IntegrityError, match="ELF, but not a program"):
        inspect(bytes(data))


def test_other_architectures_are_named_even_with_32_bits() -> None:
    assert inspect(b"\x7fELF\1\1\1" + bytes(9) + b"\2\0\x28\0" + bytes(40)).architecture == "arm"
    assert inspect(b"\x7fELF\2\2\1" + bytes(9) + b"\0\2\0\x16" + bytes(40)).architecture == "s390x"


@given(st.lists(st.tuples(st.integers(16, 2000), st.integers(0, 255)), max_size=12))
def test_damaged_headers_give_an_answer_or_a_clear_refusal(damage: list[tuple[int, int]]) -> None:
    data = bytearray(program(rodata=bytes(500)))
    for at, value in damage:
        data[at % len(data)] = value
    refusal = ""
    try:
        inspect(bytes(data))
    except IntegrityError as error:
        refusal = str(error)
    assert refusal == "" or refusal.startswith("k8s/kubeadm: ")


def test_segments_that_overlap_do_not_multiply_the_reading() -> None:
    plain = bytearray(program(version=None, sections=False, rodata=bytes(300_000)))
    many = 400
    struct.pack_into("<H", plain, 56, many)
    table = struct.pack("<IIQQQQQQ", 1, 4, 0, 0x400000, 0, len(plain), len(plain), 1) * many
    info = struct.pack("<IIQQQQQQ", *struct.unpack_from("<IIQQQQQQ", plain, 64 + 56))
    struct.pack_into("<Q", plain, 32, len(plain))
    read = _Counting(bytes(plain) + table[:-56] + info)
    inspect_binary(read, "x")
    assert read.total < 3 * len(plain)


class _Counting(io.BytesIO):
    total = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data


@pytest.mark.skipif(not Path("/usr/bin/env").exists(), reason="no programs of a Linux here")
def test_a_program_of_this_machine_is_understood() -> None:
    with Path("/usr/bin/env").open("rb") as file:
        facts = inspect_binary(file, "env")
    assert facts.architecture == {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    assert facts.go_version is None


@pytest.mark.lab
@pytest.mark.parametrize("name", ["kubeadm", "kubelet", "kubectl"])
def test_real_kubernetes_programs_tell_the_version_they_print(name: str) -> None:
    path = lab_dir() / "programs/kubernetes-1.37.1" / name
    if not path.exists():
        pytest.skip("make lab has not built Kubernetes")
    with path.open("rb") as file:
        facts = inspect_binary(file, name)
    arguments = {
        "kubeadm": ["version", "-o", "short"],
        "kubelet": ["--version"],
        "kubectl": ["version", "--client"],
    }
    printed = subprocess.run(
        [path, *arguments[name]], check=True, capture_output=True, text=True
    ).stdout
    assert f"v{facts.kubernetes_version}" in printed.split()
    assert facts.kubernetes_version == "1.37.1"
    assert facts.go_version is not None
    assert facts.go_version.startswith("go1.26")
