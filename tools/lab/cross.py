"""What this machine needs to make parts for arm64: a C compiler for it, and QEMU in its place."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.lab.debian import Apt
from tools.lab.golang import Go
from tools.lab.place import LabError, fingerprint, once, run, say

EMULATOR = "qemu-aarch64-static"
NEEDED = {  # program -> package of the machine itself
    "arch-test": "arch-test",
    EMULATOR: "qemu-user-static",
    "mmdebstrap": "mmdebstrap",
    "pkg-config": "pkg-config",
    "qemu-system-aarch64": "qemu-system-arm",
    "sqfstar": "squashfs-tools",
}

_COMPILER = (  # of bookworm, for this machine; their shared libraries are those of its own gcc
    "binutils-aarch64-linux-gnu",
    "cpp-12-aarch64-linux-gnu",
    "gcc-12-aarch64-linux-gnu",
    "libc6-arm64-cross",
    "libc6-dev-arm64-cross",
    "libgcc-12-dev-arm64-cross",
    "libgcc-s1-arm64-cross",
    "linux-libc-dev-arm64-cross",
)
_LIBRARIES = ("libseccomp-dev",)  # for arm64

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_NAME = "isobuilder-lab-arm64"
_MAGIC = "7f454c460201010000000000000000000200b700"  # ELF, 64 bits, little end first, aarch64
_MASK = "ffffffffffffff00fffffffffffffffffeffffff"  # of any system, a program or a library


def check_programs() -> None:
    """Return if every program that arm64 needs is installed.

    Raises:
        LabError: one is not; the hint names the packages.
    """
    missing = sorted({package for name, package in NEEDED.items() if shutil.which(name) is None})
    if missing:
        raise LabError(
            f"arm64: not installed: {' '.join(missing)}\nhint: apt-get install {' '.join(missing)}"
        )


@dataclass(frozen=True, slots=True)
class CrossGo(Go):
    """Go with a C compiler for arm64."""

    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self, *, network: bool = False) -> dict[str, str]:
        """Return Go's variables and those of the compiler."""
        return Go.environment(self, network=network) | dict(self.variables)


def with_compiler(lab: Path, go: Go, host: Apt, target: Apt) -> Go:
    """Return ``go`` with a C compiler and the libraries that runc needs, unpacked below ``lab``.

    Raises:
        LabError: a package cannot be had.
    """

    def make(folder: Path) -> None:
        host.unpack(_COMPILER, folder / "root")
        target.unpack(_LIBRARIES, folder / "root")

    mark = fingerprint(repr((_COMPILER, _LIBRARIES)), host.suite)
    usr = once(lab / "compiler", mark, make) / "root/usr"
    libraries = usr / "lib/aarch64-linux-gnu"
    return CrossGo(
        go.root,
        {
            "CC": str(usr / "bin/aarch64-linux-gnu-gcc-12"),
            "CGO_CFLAGS": f"-I{usr / 'include'}",
            "CGO_LDFLAGS": f"-L{libraries}",
            "LD_LIBRARY_PATH": str(usr / "lib/x86_64-linux-gnu"),  # the assembler's own
            "PKG_CONFIG_LIBDIR": str(libraries / "pkgconfig"),
        },
    )


@contextlib.contextmanager
def emulated() -> Iterator[None]:
    """Let the kernel start programs for arm64 by QEMU for as long as the block lasts.

    A machine that does so already is left as it is.

    Raises:
        LabError: this is not root, or the machine does not allow it.
    """
    if _starts_programs():
        yield
        return
    if os.geteuid() != 0:
        raise LabError(
            "arm64: the kernel starts no programs for it, and only root can change that\n"
            "hint: run it as root, or apt-get install qemu-user-static binfmt-support"
        )
    with contextlib.ExitStack() as undo:
        if not (_BINFMT / "register").exists():
            try:
                run(["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT])
            except LabError as error:
                raise LabError(
                    f"arm64: {error}\nhint: prepare arm64 on a machine, or in a container, whose "
                    "root may mount binfmt_misc"
                ) from error
            undo.callback(run, ["umount", _BINFMT])
        say(f"programs for arm64 are started by {EMULATOR}")
        # O, C: for programs that may not be read or change their user; F: opened now, so that a
        # system in a folder of its own needs no QEMU.
        words = ["", _NAME, "M", "", _escaped(_MAGIC), _escaped(_MASK), _emulator(), "OCF"]
        _write(_BINFMT / "register", ":".join(words))
        undo.callback(_write, _BINFMT / _NAME, "-1")
        if not _starts_programs():
            raise LabError(f"arm64: {EMULATOR} is registered, and its programs still do not start")
        yield


def _starts_programs() -> bool:
    try:
        return run(["arch-test", "arm64"]).strip().endswith("ok")
    except LabError:
        return False


def _emulator() -> str:
    found = shutil.which(EMULATOR)
    if found is None:
        check_programs()
        raise AssertionError
    return found


def _escaped(digits: str) -> str:
    return "".join(f"\\x{digits[at : at + 2]}" for at in range(0, len(digits), 2))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise LabError(f"arm64: {path}: {error.strerror}") from error
