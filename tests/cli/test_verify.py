from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from isobuilder.iso.read.reader import IsoReader
from isobuilder.pipeline.build import Built
from tests.cli.calling import call, errors, hints
from tests.pipeline.world import Locked


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Path:
    """The demo's ISO, to be spoiled."""
    path = tmp_path / "copy.iso"
    path.write_bytes(built.iso.read_bytes())
    return path


def spoil(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_good_iso_is_one_line(built: Built, locked: Locked) -> None:
    done = call("verify", built.iso, "--lock", locked.path, "--digest", built.digest)
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"good: {built.iso}: {built.digest}, 300.0 KiB, 0 errors, 0 warnings; ")
    assert all(what in line for what in ("structure", "checksums", "lock", "archives", "mold-cks"))


def test_what_a_node_needs_beside_the_iso_is_told(built: Built) -> None:
    told = call("verify", built.iso, "--no-layers").stderr
    assert "a node needs, beside the ISO: kernel 4.19 of the 4.x series" in told
    needs = json.loads(call("verify", built.iso, "--no-layers", "--json").stdout)["needs"]
    assert [need.split()[0] for need in needs] == ["kernel", "containerd"]


def test_json_has_everything_a_machine_needs(built: Built) -> None:
    found = json.loads(call("verify", built.iso, "--json").stdout)
    assert found["passed"] is True
    assert found["findings"] == []
    assert found["digest"] == built.digest
    assert found["size"] == built.size
    assert found["profile"] == "mold-cks"


def test_a_digest_that_came_another_way_proves_every_byte(built: Built) -> None:
    found = json.loads(call("verify", built.iso, "--digest", built.digest, "--json").stdout)
    assert found["proved"] == ["bytes of the whole image"]
    assert found["not_proved"] == []
    assert call("verify", built.iso, "--digest", built.digest).stdout.startswith("good: ")


def test_a_digest_that_lies_beside_an_iso_proves_nothing(built: Built) -> None:
    assert built.side_files[0].is_file()
    found = json.loads(call("verify", built.iso, "--json").stdout)
    assert found["proved"] == []
    (open_end,) = found["not_proved"]
    assert "neither a lock nor a digest that came another way was named" in open_end
    (line,) = call("verify", built.iso).stdout.splitlines()
    assert line.startswith("passed: ")
    assert "good" not in line
    assert line.endswith(f"; not proved: {open_end}")


def test_a_digest_may_be_in_upper_case_and_is_told_once_if_it_is_none(built: Built) -> None:
    call("verify", built.iso, "--digest", built.digest.upper())
    refused = call("verify", built.iso, "--digest", "SHA256:12", code=2)
    assert "got 'sha256:12'" in errors(refused)[0]


def test_what_a_lock_leaves_open_is_proved_by_a_digest(built: Built, locked: Locked) -> None:
    both = call("verify", built.iso, "--lock", locked.path, "--digest", built.digest, "--json")
    alone = call("verify", built.iso, "--lock", locked.path, "--json")
    proved = json.loads(alone.stdout)["proved"]
    assert json.loads(both.stdout)["proved"] == [*proved, "bytes of the whole image"]
    assert json.loads(alone.stdout)["not_proved"] == []


def test_another_digest_proves_nothing(built: Built) -> None:
    found = json.loads(call("verify", built.iso, "--digest", "0" * 64, "--json", code=5).stdout)
    assert (found["passed"], found["proved"]) == (False, [])


def test_a_flipped_bit_is_named_with_its_file_and_ends_with_5(copy: Path) -> None:
    data = copy.read_bytes()
    position = data.index(b"kind: ")  # in a manifest
    spoil(copy, position, b"kine: ")
    done = call("verify", copy, code=5)
    assert any(line.startswith("error: iso.sums: ") for line in done.stdout.splitlines())
    assert done.stdout.splitlines()[-1].startswith("BAD: ")
    assert hints(done) == ["hint: do not register or boot this ISO; build it again"]
    found = json.loads(call("verify", copy, "--json", code=5).stdout)
    assert found["passed"] is False
    assert {"rule", "place", "fact", "remedy"} <= set(found["findings"][0])


def test_bytes_of_another_iso_are_told_by_the_digest(built: Built, copy: Path) -> None:
    spoil(copy, copy.stat().st_size - 1, b"!")
    done = call("verify", copy, "--digest", built.digest.hex, code=5)
    assert any(f"expected {built.digest}, got" in line for line in done.stdout.splitlines())


def test_another_lock_is_told(built: Built, locked: Locked, tmp_path: Path) -> None:
    lock = locked.lock.model_copy(update={"epoch": 1, "images": locked.lock.images[1:]})
    path = tmp_path / "other.lock.json"
    path.write_bytes(lock.to_bytes())
    done = call("verify", built.iso, "--lock", path, code=5)
    lines = done.stdout.splitlines()
    assert all(line.startswith("error: lock.pin: ") for line in lines[:-1])
    assert any("manifest.json: made from the lock" in line for line in lines)
    assert any(locked.lock.images[0].archive in line for line in lines)  # which it has no more


# --- files that are no good ISO


@pytest.mark.parametrize("amount", [0, 100, 32768, 40000, 100_000, 300_000])
def test_a_truncated_iso_is_refused(built: Built, tmp_path: Path, amount: int) -> None:
    path = tmp_path / "cut.iso"
    path.write_bytes(built.iso.read_bytes()[:amount])
    done = call("verify", path, code=5)
    assert "iso.structure" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("BAD: ")


@pytest.mark.parametrize("content", [b"<html>" * 9000, bytes(100_000), b"\xff" * 100_000])
def test_what_is_no_iso_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.iso"
    path.write_bytes(content)
    assert "not an ISO 9660 image" in call("verify", path, code=5).stdout
    assert "not an ISO 9660 image" in errors(call("inspect", path, code=5))[0]


ROOT = 32768 + 156  # byte of the root directory's record, ECMA-119 8.4.18


def both(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (32768 + 80, both(2**31)),  # the volume has 4 TiB
        (ROOT + 2, both(2**30)),  # the root directory lies far behind the end
        (ROOT + 10, both(2**32 - 2048)),  # the root directory has 4 GiB
        (32768 + 128, b"\x00\x00\x00\x00"),  # blocks of no bytes
    ],
    ids=["volume", "root far away", "root of 4 GiB", "blocks of 0"],
)
def test_absurd_sizes_are_refused(copy: Path, offset: int, data: bytes) -> None:
    spoil(copy, offset, data)
    done = call("verify", copy, code=5)
    assert done.stdout.startswith("error: iso.")
    assert copy.name in errors(done)[0]


def test_a_folder_that_contains_itself_is_refused(built: Built, copy: Path) -> None:
    data = copy.read_bytes()
    root = struct.unpack_from("<I", data, ROOT + 2)[0]
    size = struct.unpack_from("<I", data, ROOT + 10)[0]
    position, found = root * 2048, False
    while position < root * 2048 + size:
        length = data[position]
        if length == 0:
            position = (position // 2048 + 1) * 2048
            continue
        name = data[position + 33 : position + 33 + data[position + 32]]
        if data[position + 25] & 2 and name not in {b"\x00", b"\x01"}:
            spoil(copy, position + 2, both(root))
            spoil(copy, position + 10, both(size))
            found = True
            break
        position += length
    assert found
    done = call("inspect", copy, code=5)
    assert "loop" in errors(done)[0] or "folder" in errors(done)[0]
    assert call("verify", copy, code=5).stdout.splitlines()[-1].startswith("BAD: ")


def test_a_name_that_leaves_the_tree_is_refused(copy: Path) -> None:
    data = copy.read_bytes()
    name = b"images.list"
    assert name in data
    for position in [at for at in range(len(data)) if data.startswith(name, at)]:
        # Only names in directory records follow a Rock Ridge NM header of that length.
        if data[position - 5 : position - 3] == b"NM":
            spoil(copy, position, b"../../x.lst")
    assert copy.read_bytes() != data
    done = call("inspect", copy, code=5)
    assert copy.name in errors(done)[0]
    assert call("verify", copy, code=5).stdout.splitlines()[-1].startswith("BAD: ")


# --- usage


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--digest", "abc"), "--digest"),
        (("--digest", "sha256:" + "g" * 64), "--digest"),
        (("--profile", "mold"), "no profile 'mold'"),
    ],
)
def test_wrong_options_are_usage_errors(
    built: Built, arguments: tuple[str, str], error: str
) -> None:
    done = call("verify", built.iso, *arguments, code=2)
    assert error in errors(done)[0]
    assert done.stdout == ""


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, built: Built) -> None:
    done = call("verify", "/proc/self/mem", code=6)
    assert "/proc/self/mem" in errors(done)[0]


def legacy(built: Built, folder: Path, *options: str) -> Path:
    """The demo's files on a disc as CloudStack's own script makes it."""
    if shutil.which("genisoimage") is None:
        pytest.skip("genisoimage is not installed: apt-get install genisoimage")
    tree = folder / "tree"
    with IsoReader(built.iso) as reader:
        for path in reader.files.keys() - {"manifest.json", "SHA256SUMS"}:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            with reader.open(path) as file:
                (tree / path).write_bytes(file.read())
    iso = folder / "legacy.iso"
    subprocess.run(["genisoimage", "-quiet", "-o", iso, *options, "-l", tree], check=True)
    return iso


def test_a_disc_of_cloudstacks_script_is_judged_by_every_rule_of_a_node(
    built: Built, tmp_path: Path
) -> None:
    iso = legacy(built, tmp_path, "-J", "-R")
    found = json.loads(call("verify", iso, "--profile", "mold-cks", "--json").stdout)
    assert [(one["rule"], one["severity"]) for one in found["findings"]] == [
        ("iso.sums", "warning")
    ]
    done = call("verify", iso, "--profile", "cloudstack-cks", code=5)
    assert "A.4.manifest-images" in done.stdout


def test_a_disc_without_rock_ridge_is_told_that_and_nothing_about_path_tables(
    built: Built, tmp_path: Path
) -> None:
    done = call("verify", legacy(built, tmp_path, "-J"), "--profile", "mold-cks", code=5)
    errors_told = [line for line in done.stdout.splitlines() if line.startswith("error: iso.")]
    assert [line.split()[1] for line in errors_told] == ["iso.rock-ridge:"]


def test_inspect_lists_what_can_be_read_of_a_disc_without_a_manifest(
    built: Built, tmp_path: Path
) -> None:
    iso = legacy(built, tmp_path, "-J", "-R")
    found = json.loads(call("inspect", iso, "--json").stdout)
    ours = json.loads(call("inspect", built.iso, "--json").stdout)
    assert found["facts"]["kubernetes"] == ours["facts"]["kubernetes"]
    assert found["facts"]["architecture"] == "amd64"
    names = {image["reference"] for image in found["images"]}
    assert {image["reference"] for image in ours["images"]} <= names
    digests = {item["path"]: item["digest"] for item in ours["files"]}
    assert all(
        digests[item["path"]] in {item["digest"], None}
        for item in found["files"]
        if item["path"] in digests
    )
    assert "made by:" in call("inspect", iso).stdout
    call("diff", iso, built.iso)
