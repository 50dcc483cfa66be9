"""Write a release of isobuilder into a folder.

Wheel, source archive, manual pages, bill of materials, checksums; and, unless it is left out, a
wheelhouse: everything that a machine without Internet installs, with its hashes. The same tree
gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from isobuilder import __version__
from tools.make_venv import PROJECT
from tools.release.parts import EXTRAS, runtime
from tools.release.sbom import own_sbom

NAME = f"isobuilder-{__version__}"
# Linux with a C library of 2019 or newer: Debian 12, Ubuntu 22.04, Rocky 9 and what came later.
PLATFORMS = ("2_28", "2_17", "2_12", "2_5")
_INSTALL = """\
Installs {name} without a network, on Linux {machine} with Python {pythons}:

  python3 -m venv /opt/isobuilder
  /opt/isobuilder/bin/pip install --no-index --find-links . --require-hashes -r requirements.txt
  /opt/isobuilder/bin/isobuilder --version
"""


def main() -> None:
    """Write it, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROJECT / "dist" / NAME)
    parser.add_argument(
        "--python",
        action="append",
        help="for which Python wheels are gathered, such as 3.13; several. [this one]",
    )
    parser.add_argument("--no-wheelhouse", action="store_true", help="needs no network")
    options = parser.parse_args()
    pythons = options.python or [f"{sys.version_info.major}.{sys.version_info.minor}"]
    for path in release(options.out, [] if options.no_wheelhouse else pythons):
        print(path)


def release(out: Path, pythons: Sequence[str]) -> list[Path]:
    """Write a release into ``out``, in place of what is there, and return its files."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    build(out)
    (wheel,) = out.glob("*.whl")
    (out / f"{NAME}.sbom.cdx.json").write_bytes(own_sbom())
    with tempfile.TemporaryDirectory() as name:
        pages = Path(name) / "man1"
        command = [sys.executable, "-m", "isobuilder", "--quiet", "man", "--out", str(pages)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        pack(pages, out / f"{NAME}-man.tar.gz", "man1")
    if pythons:
        with tempfile.TemporaryDirectory() as name:
            house = wheelhouse(Path(name) / "wheelhouse", wheel, pythons)
            label = "-".join(f"cp{python.replace('.', '')}" for python in pythons)
            pack(house, out / f"{NAME}-wheelhouse-{label}-{platform.machine()}.tar.gz", house.name)
    files = sorted(out.iterdir())
    sums = "".join(f"{digest_of(path)}  {path.name}\n" for path in files)
    (out / "SHA256SUMS").write_text(sums, encoding="utf-8")
    return [*files, out / "SHA256SUMS"]


def build(out: Path) -> None:
    """Let the locked build backend write wheel and source archive."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out)]
    for target in ("wheel", "sdist"):
        done = subprocess.run(
            [*command, "--target", target],
            cwd=PROJECT,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1580601600"},
        )
        if done.returncode:
            sys.exit(f"error: hatchling: {done.stdout}{done.stderr}")


def wheelhouse(folder: Path, wheel: Path, pythons: Sequence[str]) -> Path:
    """Gather in ``folder`` what the lock says for each Python, and how it is installed."""
    folder.mkdir(parents=True)
    lines: dict[str, None] = {}
    for python in pythons:
        wanted = folder / f".{python}.txt"
        parts = runtime(python)
        # pip asks markers of the Python that it runs in, not of the one that is wanted.
        plain = [str(item._replace(marker="")) for item in parts]
        wanted.write_text("\n".join(plain) + "\n", encoding="utf-8")
        download(folder, wanted, python)
        wanted.unlink()
        lines |= dict.fromkeys(map(str, parts))
    shutil.copy(wheel, folder)
    own = f"isobuilder[{','.join(EXTRAS)}]=={__version__} --hash=sha256:{digest_of(wheel)}"
    (folder / "requirements.txt").write_text("\n".join([own, *lines]) + "\n", encoding="utf-8")
    told = _INSTALL.format(name=NAME, machine=platform.machine(), pythons=" or ".join(pythons))
    (folder / "INSTALL").write_text(told, encoding="utf-8")
    return folder


def download(folder: Path, wanted: Path, python: str) -> None:
    """Fetch the wheels of one Python for this kind of machine; hashes say which are meant."""
    digits = python.replace(".", "")
    where = [f"--platform=manylinux_{glibc}_{platform.machine()}" for glibc in PLATFORMS]
    where += [f"--platform=manylinux2014_{platform.machine()}", "--implementation=cp"]
    where += [f"--python-version={python}", f"--abi=cp{digits}", "--abi=abi3", "--abi=none"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    held = ["--require-hashes", "--only-binary=:all:", "--no-deps"]
    done = subprocess.run(
        [*command, *held, *where, f"--dest={folder}", f"--requirement={wanted}"], check=False
    )
    if done.returncode:
        sys.exit(f"error: pip ended with {done.returncode}")


def pack(folder: Path, target: Path, name: str) -> None:
    """Write a folder as an archive that says nothing of this machine."""
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in entries(folder):
            entry = tarfile.TarInfo(f"{name}/{path.name}")
            data = path.read_bytes()
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))


def entries(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
