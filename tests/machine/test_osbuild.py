from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import pytest

from isobuilder.delta.blocks import Blocked
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, UpstreamError
from isobuilder.formats.squashfs import read_squashfs
from isobuilder.machine import osbuild
from isobuilder.machine.osbuild import (
    Mirror,
    build_payload,
    loader_packages,
    mmdebstrap_command,
    own_files,
    squashfs_command,
)
from isobuilder.store import Store
from tests.contract.trees import tar
from tests.pipeline.test_build import collecting

SCRIPTS = ("setup", "images", "report", "steps")
MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")


def command(mirror: Mirror = MIRROR, kernel: str = "cloud", architecture: str = "amd64") -> str:
    argv = mmdebstrap_command(
        Path("/tree.tar"),
        Path("/own.tar"),
        suite="trixie",
        kernel="generic" if kernel == "generic" else "cloud",
        architecture=architecture,
        mirror=mirror,
    )
    return "\n".join(str(word) for word in argv)


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def test_our_own_files_are_the_same_bytes_every_time() -> None:
    assert own_files(1_754_697_600) == own_files(1_754_697_600)


def test_our_own_files_belong_to_root_and_only_scripts_are_executable() -> None:
    found = members(own_files(7))
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, 7)}
    executable = {name for name, member in found.items() if member.mode & 0o111}
    assert "usr/lib/kiso/setup" in executable
    assert "usr/share/initramfs-tools/hooks/kiso" in executable
    assert "etc/systemd/system/kiso-setup.service" not in executable
    assert "usr/share/initramfs-tools/scripts/kiso" not in executable


def test_all_mirrors_of_the_suite_are_used() -> None:
    lines = command().splitlines()
    assert "deb http://mirror.example/debian trixie main" in lines
    assert "deb http://mirror.example/debian trixie-updates main" in lines
    assert "deb http://mirror.example/debian-security trixie-security main" in lines


def test_only_a_snapshot_may_have_expired_lists() -> None:
    assert "Check-Valid-Until" not in command()
    assert "Check-Valid-Until" in command(Mirror("http://mirror.example/2026", None, frozen=True))


@pytest.mark.parametrize(
    ("kernel", "architecture", "package"),
    [
        ("cloud", "amd64", "linux-image-cloud-amd64"),
        ("generic", "amd64", "linux-image-amd64"),
        ("cloud", "arm64", "linux-image-cloud-arm64"),
    ],
)
def test_the_kernel_is_the_one_asked_for(kernel: str, architecture: str, package: str) -> None:
    include = next(
        line
        for line in command(kernel=kernel, architecture=architecture).splitlines()
        if line.startswith("--include=")
    )
    assert include.endswith(f",{package}")


def test_arm64_has_no_loader_for_bios() -> None:
    assert "grub-pc-bin" in loader_packages("amd64")
    assert not any("pc" in name for name in loader_packages("arm64"))


def test_nothing_that_belongs_to_one_kubernetes_version_is_installed() -> None:
    own = set(osbuild.package_names())
    assert "cloud-init" in own
    assert not own & {"containerd", "runc", "kubectl", "containernetworking-plugins", "ebtables"}


def test_packages_are_read_from_what_apt_prints() -> None:
    text = (
        "Package: bash\nVersion: 5.2-1\nArchitecture: amd64\nDescription: shell\n more: text\n"
        f"SHA256: {'a' * 64}\n\nPackage: old\nVersion: 1\nArchitecture: all\nStatus: installed\n\n"
        f"Package: bash\nVersion: 5.2-1\nArchitecture: amd64\nSHA256: {'a' * 64}\n"
    )
    found = osbuild.read_packages(text)
    assert [(package.name, package.version) for package in found] == [("bash", "5.2-1")]
    assert found[0].sha256 == Digest.from_hex("a" * 64)


def test_a_missing_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("isobuilder.run._search_path", lambda: str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="mmdebstrap") as caught:
        osbuild.check_programs()
    assert caught.value.hint is not None
    assert "apt-get install mmdebstrap" in caught.value.hint


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="no apt here")
def test_proxies_are_apts_or_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://environment.example:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    assert osbuild.host_proxies() == {
        "http_proxy": "http://environment.example:3128",
        "no_proxy": "localhost",
    }
    settings = tmp_path / "apt.conf"
    settings.write_text('Acquire::http::Proxy "http://apt.example:3142";\n')
    monkeypatch.setattr(
        "isobuilder.run.child_environment",
        lambda _env: {"PATH": "/usr/bin:/bin", "APT_CONFIG": str(settings)},
    )
    assert osbuild.host_proxies()["http_proxy"] == "http://apt.example:3142"


@pytest.mark.skipif(shutil.which("sqfstar") is None, reason="squashfs-tools is not installed")
def test_every_file_of_the_root_has_blocks_of_its_own_that_can_be_made_again(
    tmp_path: Path,
) -> None:
    """So that a delta of two payloads is that of the files that changed."""
    held = {f"usr/{n}.so": bytes(range(32, 90)) * n * 700 + b"end" for n in range(1, 9)}
    tree, out = tmp_path / "tree.tar", tmp_path / "root.squashfs"
    tree.write_bytes(tar({**held, "boot/vmlinuz": b"the kernel"}))
    with tree.open("rb") as file:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "7"}
        subprocess.run(squashfs_command(out), stdin=file, env=environment, check=True)
    data = out.read_bytes()
    found = read_squashfs(lambda at, size: data[at : at + size], len(data))
    assert {run.path for run in found.runs} == held.keys()
    for run in found.runs:
        packed = data[run.offset : run.offset + run.packed]
        delta = Blocked(run.blocks).make(held[run.path], packed)
        assert delta is not None
        assert Blocked().apply(held[run.path], delta, len(packed)) == packed


def test_no_mirror_of_anybody_is_written_down() -> None:
    folder = Path(str(files("isobuilder.machine") / "os"))
    text = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    addresses = set(re.findall(rb"\w+://[\w./-]*", text))
    assert addresses == {b"https://containerd.io", b"unix:///run/containerd/containerd.sock"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_of_the_first_boot_are_correct_bash(name: str) -> None:
    path = Path(str(files("isobuilder.machine") / "os" / "tree" / "usr" / "lib" / "kiso" / name))
    subprocess.run(["bash", "-n", path], check=True)


def test_scripts_of_the_initramfs_are_correct_for_a_small_shell() -> None:
    folder = Path(str(files("isobuilder.machine") / "os" / "tree" / "usr" / "share"))
    for path in (folder / "initramfs-tools").rglob("kiso"):
        subprocess.run(["dash", "-n", path], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    folder = Path(str(files("isobuilder.machine") / "os"))
    bash = [folder / "tree/usr/lib/kiso" / name for name in SCRIPTS]
    small = [
        folder / "tree/usr/share/initramfs-tools/scripts/kiso",
        folder / "tree/usr/share/initramfs-tools/hooks/kiso",
    ]
    for kind, paths in (("bash", bash), ("dash", small), ("sh", [folder / "customize.sh"])):
        done = subprocess.run(
            ["shellcheck", "--severity=warning", "--exclude=SC1091,SC2034,SC2154,SC3043",
             f"--shell={kind}", *paths],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_a_collection_waits_until_all_of_a_payload_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_out(_tree: Path, folder: Path) -> dict[str, Path]:
        texts = {"packages": "", "kernel-version": "6.12", "kernel": "k", "initrd": "i"}
        texts |= {name: name for name in ("bios", "bios-mbr", "shim", "grub", "mok-manager")}
        for name, text in texts.items():
            (folder / name).write_text(text)
        return {name: folder / name for name in texts}

    def ran(argv: Sequence[str | Path], **_named: object) -> str:
        if argv[-1] == "boot":
            Path(argv[-2]).write_text("root")
        return ""

    monkeypatch.setattr(osbuild, "check_programs", lambda: None)
    monkeypatch.setattr(osbuild, "_take_out", taken_out)
    monkeypatch.setattr(osbuild, "run", ran)
    with ThreadPoolExecutor() as pool:
        with collecting(store, pool) as collections:
            made = build_payload(
                store, suite="trixie", kernel="cloud", architecture="amd64", mirror=MIRROR
            )
        removed = [blob for one in collections for blob in one.ended.result().removed]
    assert not any(one.meanwhile for one in collections)
    assert made.digest in {blob.digest for blob in removed}  # whole, and then collected


@pytest.mark.parametrize(
    ("said", "fact", "kind"),
    [
        (
            "exit 25: Reading lists | E: Failed to fetch http://m/InRelease | E: mmdebstrap failed",
            "E: Failed to fetch http://m/InRelease",
            UpstreamError,
        ),
        (
            "exit 1: E: arm64 can neither be executed natively nor via qemu user emulation with "
            "binfmt_misc",
            "neither be executed natively",
            EnvironmentProblem,
        ),
        ("exit 1: E: unshare syscall failed: not permitted", "not permitted", EnvironmentProblem),
        ("still running after 3600 s", "still running after 3600 s", EnvironmentProblem),
    ],
)
def test_an_error_is_told_without_the_whole_command(
    said: str, fact: str, kind: type[Exception]
) -> None:
    told = osbuild.explained(EnvironmentProblem(f"mmdebstrap '--customize-hook=a: b': {said}"))
    assert isinstance(told, kind)
    assert fact in str(told)
    assert "mmdebstrap failed" not in str(told)
