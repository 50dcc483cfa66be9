"""The scripts of the first boot: what must not be turned round, and the room they ask for."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from importlib.resources import files
from pathlib import Path

SETUP = Path(str(files("isobuilder.machine") / "os" / "tree" / "usr" / "lib" / "kiso" / "setup"))

MIB = 1 << 20


def test_half_imported_images_are_removed_even_when_setup_itself_was_finished() -> None:
    text = SETUP.read_text(encoding="utf-8")
    assert text.index("find /var/lib/containerd") < text.index("if done_with setup")


def unpacked(*archives: Path) -> int:
    """What the first boot says these archives come to unpacked, in MiB."""
    script = SETUP.read_text(encoding="utf-8")
    function = script[script.index("\nunpacked() {") : script.index("\ncheck_room() {")]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{function}\nunpacked "$@"', "bash", *archives],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return int(done.stdout)


def archive(path: Path, *members: bytes) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        folder = tarfile.TarInfo("blobs/sha256")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, member in enumerate(members):
            info = tarfile.TarInfo(f"blobs/sha256/{number:064x}")
            info.size = len(member)
            tar.addfile(info, io.BytesIO(member))
    return path


def test_room_is_asked_for_what_the_layers_come_to_and_not_by_a_rule_of_thumb(
    tmp_path: Path,
) -> None:
    zeros, noise = gzip.compress(bytes(100 * MIB)), gzip.compress(os.urandom(4 * MIB))
    assert len(zeros) > 65536
    one = archive(tmp_path / "one.tar", b"{}", zeros, b"[" * 700)
    two = archive(tmp_path / "two.tar", noise)
    assert unpacked(one) == 100
    assert unpacked(two) == 4
    assert unpacked(one, two) == 104


def test_room_for_layers_that_do_not_tell_their_length_is_four_times_theirs(tmp_path: Path) -> None:
    joined = gzip.compress(os.urandom(3 * MIB)) + gzip.compress(b"the index")
    plain = os.urandom(2 * MIB)
    assert unpacked(archive(tmp_path / "joined.tar", joined)) == 12
    assert unpacked(archive(tmp_path / "plain.tar", plain)) == 8


def test_images_are_imported_with_their_own_digests_however_slowly_ctr_tells_its_options() -> None:
    script = SETUP.with_name("images").read_text(encoding="utf-8")
    asked = script[script.index("local=''") : script.index(': > "$state/importing"')]
    slow = """ctr() { echo '   --local   import from the client'; sleep 0.3; seq 100000; }"""
    shown = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{slow}\n{asked}\necho "$local"'],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert shown == "--local\n"
