"""What goes wrong is said on the console in words, with a way out; nothing hangs in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.iso.read.reader import IsoReader
from isobuilder.machine.qemu import Machine
from tests.boot.conftest import boot, seed

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(1200)]


def flip(iso: Path, path: str, offset: int) -> None:
    """Flip one bit of a file on the ISO."""
    with IsoReader(iso) as reader:
        place = reader.files[path].extents[0].offset + offset
    with iso.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 0x20]))


def replace(iso: Path, path: str, old: bytes, new: bytes) -> None:
    """Replace text of a file on the ISO by other text of the same length."""
    with IsoReader(iso) as reader, reader.open(path) as file:
        place = reader.files[path].extents[0].offset + file.read().index(old)
    with iso.open("r+b") as image:
        image.seek(place)
        image.write(new.ljust(len(old)))


def stopped(machine: Machine, logs: Path, *, limit: float = 600) -> tuple[str, str]:
    """Return the first error and hint of a boot that must not succeed."""
    booted = boot(machine, logs, limit=limit)
    assert booted.outcome.errors, booted.text[-4000:]
    assert booted.outcome.hints, booted.text[-4000:]
    return booted.outcome.errors[0], booted.outcome.hints[0]


def test_a_damaged_root_file_system(copy: Path, tmp_path: Path) -> None:
    flip(copy, "boot/kiso/root.squashfs", 40_000_000)
    error, hint = stopped(Machine("node1", copy), tmp_path)
    assert error == "boot/kiso/root.squashfs on the medium is damaged"
    assert ".sha256" in hint


def test_a_damaged_kernel(copy: Path, tmp_path: Path) -> None:
    flip(copy, "boot/kiso/vmlinuz", 5_000_000)
    error, hint = stopped(Machine("node1", copy), tmp_path)
    assert error == "the kernel halted: ZSTD-compressed data is corrupt"
    assert "damaged" in hint


def test_a_damaged_program(copy: Path, tmp_path: Path) -> None:
    flip(copy, "k8s/kubelet", 1_000_000)
    error, hint = stopped(Machine("node1", copy), tmp_path)
    assert error == "the medium is damaged: k8s/kubelet: FAILED"
    assert ".sha256" in hint


def test_damaged_checksums(copy: Path, tmp_path: Path) -> None:
    flip(copy, "SHA256SUMS", 3)
    error, _hint = stopped(Machine("node1", copy), tmp_path)
    assert error.startswith("the medium is damaged: ")


def test_a_damaged_image(copy: Path, tmp_path: Path) -> None:
    with IsoReader(copy) as reader:
        archives = [path for path in reader.files if path.endswith(".tar")]
        path = max(archives, key=lambda name: reader.files[name].size)
    flip(copy, path, 9_000_000)
    error, _hint = stopped(Machine("node1", copy), tmp_path)
    assert error.startswith(path)
    assert error.endswith("on the medium is damaged")


def test_too_little_memory(iso: Path, tmp_path: Path) -> None:
    error, hint = stopped(Machine("node1", iso, memory=700), tmp_path)
    assert "MiB of memory" in error
    assert "kiso.data=LABEL" in hint


def test_too_little_memory_for_the_images(iso: Path, tmp_path: Path) -> None:
    error, hint = stopped(Machine("node1", iso, memory=1200), tmp_path)
    assert error.startswith("images and programs need about ")
    assert "more memory" in hint


def test_a_data_disk_that_is_not_there(copy: Path, tmp_path: Path) -> None:
    replace(copy, "boot/grub/grub.cfg", b"set default=memory", b"set default=disk")
    error, hint = stopped(Machine("node1", copy), tmp_path)
    assert error == "no file system labelled kiso-data was found in 60 s"
    assert "mkfs.ext4 -L kiso-data" in hint


def test_user_data_that_is_not_yaml(iso: Path, tmp_path: Path) -> None:
    configuration = seed(tmp_path / "seed.iso", "#cloud-config\nruncmd: [\n")
    booted = boot(Machine("node1", iso, seed=configuration), tmp_path, until="system up")
    assert "cloud-init: " in booted.text
    assert "user-data" in booted.text
