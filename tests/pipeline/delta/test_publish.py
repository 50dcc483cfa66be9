"""A published delta is made once, leads to what was published, and is never replaced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.http.settings import HttpSettings
from isobuilder.model.policy import Bucket
from isobuilder.pipeline.delta import publish
from isobuilder.pipeline.delta.apply import apply_deltas
from isobuilder.pipeline.delta.make import make_delta
from isobuilder.pipeline.delta.publish import lacking, look_at_deltas, publish_delta
from isobuilder.progress import SILENT, Progress
from isobuilder.publish.index import PublishedDelta, PublishedIndex, index_of
from isobuilder.publish.place import FolderPlace
from tests.fakes.versity import ACCESS, BUCKET, MISSING, PROGRAM, SECRET, versity
from tests.pipeline.delta.released import Released, entry_of, registration_of, released


@pytest.fixture
def folder(tmp_path: Path) -> Released:
    """Two ISOs in a published folder."""
    published = tmp_path / "published"
    published.mkdir()
    return released(FolderPlace(published), published / ".work", tmp_path / "source")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Released]:
    """Two ISOs in a bucket."""
    from isobuilder.publish.s3 import BucketPlace

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with versity(tmp_path / "s3") as server:
        wanted = Bucket(name=BUCKET, prefix="team", endpoint=server.url)
        place = BucketPlace(wanted, HttpSettings())
        yield released(place, tmp_path / "work", tmp_path / "source")


needs_versity = pytest.mark.skipif(PROGRAM is None, reason=MISSING)
PLACES = ["folder", pytest.param("bucket", marks=[needs_versity, pytest.mark.lab])]


@pytest.fixture(params=PLACES)
def two(request: pytest.FixtureRequest) -> Released:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Released)
    return found


def made(two: Released) -> PublishedDelta:
    """Publish the delta and return what the index says of it."""
    publish_delta(two.old, two.new, two.target, SILENT)
    (delta,) = index_of(two.target.place).deltas
    return delta


def beside(two: Released) -> Path:
    assert isinstance(two.target.place, FolderPlace)
    return two.target.place.folder


def test_a_delta_is_published_that_leads_to_what_was_published(
    two: Released, tmp_path: Path
) -> None:
    place = two.target.place
    assert lacking(two.new, two.target, 5) == [two.old]
    told = publish_delta(two.old, two.new, two.target, SILENT)
    (delta,) = index_of(place).deltas
    assert told.startswith(f"{delta.name}, ")
    assert told.endswith(f"{100 * delta.size / two.new.size:.2f} % of the ISO")
    assert delta.name.startswith("kubernetes-v1.34.9-mold-cks-amd64-r1.from-v1.34.8-r1-")
    assert (place.size_of(delta.name), place.digest_of(delta.name)) == (delta.size, delta.sha256)
    sums = place.read("SHA256SUMS", 10_000)
    assert sums is not None
    assert f"{delta.sha256.hex}  {delta.name}" in sums.decode().splitlines()
    path = tmp_path / delta.name
    path.write_bytes(b"".join(place.chunks(delta.name)))
    done = apply_deltas([two.path(two.old)], [path], tmp_path / "site" / two.new.name)
    assert done.digest == delta.new_sha256 == two.new.sha256
    assert [one.read_bytes() for one in done.beside] == [registration_of(done.iso)]
    assert lacking(two.new, two.target, 5) == []
    assert list(look_at_deltas(two.target)) == []


class Killed(BaseException):
    """As by SIGKILL: nothing of ours runs any more."""


MOMENTS = {
    "while it is made": ("make_delta", False),
    "once it is made": ("_make", True),
    "before it is published": ("publish_file", True),
    "once it is published": ("change_index", True),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_is_killed_makes_nothing_twice_and_ends_the_same(
    moment: str, folder: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, was_made = MOMENTS[moment]
    makes = counted(monkeypatch)
    real_make = publish._make

    def killed(*arguments: object, **__: object) -> None:
        if moment == "once it is made":
            real_make(*arguments)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(publish, name, killed)
        with pytest.raises(Killed):
            publish_delta(folder.old, folder.new, folder.target, SILENT)
    before = len(makes)
    delta = made(folder)
    assert len(makes) - before == (0 if was_made else 1)
    place = folder.target.place
    assert place.digest_of(delta.name) == delta.sha256
    assert [path.name for path in beside(folder).glob("*.delta")] == [delta.name]
    assert not list((folder.target.work / "deltas").rglob("*.*"))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let every delta that is made be counted."""
    makes: list[Path] = []

    def counting(olds: list[Path], new: Path, out: Path, *, progress: Progress) -> object:
        makes.append(out)
        return make_delta(olds, new, out, progress=progress)

    monkeypatch.setattr(publish, "make_delta", counting)
    return makes


def test_a_place_that_is_full_is_told_and_filled_later_without_making_it_again(
    folder: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    makes = counted(monkeypatch)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", full)
        with pytest.raises(EnvironmentProblem, match="No space left on device") as told:
            made(folder)
    assert "free space" in (told.value.hint or "")
    assert index_of(folder.target.place).deltas == ()
    made(folder)
    assert len(makes) == 1


@pytest.mark.parametrize("left", ["cut", "of another ISO", "no delta"])
def test_what_waits_and_is_not_that_delta_is_made_anew(
    left: str, folder: Released, tmp_path: Path
) -> None:
    first = made(folder)
    data = (beside(folder) / first.name).read_bytes()
    waiting = folder.target.work / "deltas" / f"{folder.new.base_name}.from-v1.34.8-r1.delta"
    other = entry_of("1.34.9", digest=Digest.of(b"other"))
    waiting.write_bytes({"cut": data[:-1], "no delta": b"x", "of another ISO": data}[left])
    if left == "of another ISO":
        with pytest.raises(IntegrityError):
            publish_delta(folder.old, other, folder.target, SILENT)
        return
    (beside(folder) / first.name).unlink()
    assert made(folder) == first


def spoil_iso(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[50_000] ^= 1
    path.unlink()  # the source is the same file
    path.write_bytes(data)


BASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "gone": (Path.unlink, r"1\.34\.8-mold-cks-amd64-r1\.iso: is not there, the index says \d+"),
    "cut": (lambda path: os.truncate(path, 1000), "has 1000 bytes, the index says"),
    "a bit": (spoil_iso, "is sha256:[0-9a-f]+, the index says sha256:"),
}


@pytest.mark.parametrize("what", BASES)
def test_no_delta_is_made_from_an_iso_that_is_not_what_was_published(
    what: str, folder: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, fact = BASES[what]
    makes = counted(monkeypatch)
    spoil(beside(folder) / folder.old.name)
    with pytest.raises(IntegrityError, match=fact):
        made(folder)
    assert makes == []
    assert not list(beside(folder).glob("*.delta"))


@pytest.mark.lab
@needs_versity
def test_what_a_bucket_gives_is_believed_for_its_digest_alone(bucket: Released) -> None:
    place = bucket.target.place
    place.remove(bucket.old.name)
    other = bucket.source / "other"
    other.write_bytes(b"\0" * bucket.old.size)
    place.add(other, bucket.old.name)
    with pytest.raises(IntegrityError, match=r"is sha256:[0-9a-f]+, the index says"):
        made(bucket)


def test_a_damaged_delta_is_told_and_stays_until_somebody_takes_it_away(two: Released) -> None:
    place = two.target.place
    delta = made(two)
    data = bytearray(b"".join(place.chunks(delta.name)))
    data[-1] ^= 1
    damaged = two.source / "damaged"
    damaged.write_bytes(data)
    place.remove(delta.name)
    place.add(damaged, delta.name)
    (step,) = look_at_deltas(two.target)
    assert step.state == "failed"
    assert f"{delta.name}: is {Digest.of(bytes(data))}, the index says {delta.sha256}" in step.fact
    assert "take it away; the next run makes it again" in step.fact
    assert lacking(two.new, two.target, 1) == []
    assert place.digest_of(delta.name) == Digest.of(bytes(data))
    place.remove(delta.name)
    assert lacking(two.new, two.target, 1) == [two.old]
    assert made(two) == delta


def test_a_delta_that_was_cut_is_told_by_its_size(folder: Released) -> None:
    delta = made(folder)
    os.truncate(beside(folder) / delta.name, 100)
    (step,) = look_at_deltas(folder.target)
    assert f"is 100 bytes, the index says {delta.size} bytes" in step.fact


def test_a_delta_that_somebody_took_away_leaves_the_index(folder: Released) -> None:
    delta = made(folder)
    (beside(folder) / delta.name).unlink()
    (step,) = look_at_deltas(folder.target)
    assert (step.subject, step.state) == (delta.name, "done")
    assert index_of(folder.target.place).deltas == ()


def test_its_name_is_not_given_to_it_where_other_bytes_have_it(folder: Released) -> None:
    delta = made(folder)
    path = beside(folder) / delta.name
    path.unlink()
    path.write_bytes(b"somebody else's")
    with pytest.raises(IntegrityError, match="is published with other bytes"):
        publish_delta(folder.old, folder.new, folder.target, SILENT)
    assert path.read_bytes() == b"somebody else's"


def test_deltas_come_from_the_newest_isos_before_of_the_same_minor_and_kind() -> None:
    new = entry_of("1.34.10")
    wanted = [entry_of("1.34.9", revision=2), entry_of("1.34.9"), entry_of("1.34.2")]
    others = [
        entry_of("1.34.11"),
        entry_of("1.33.12"),
        entry_of("1.34.9", kind="mold-cks-arm64"),
        entry_of("1.34.9", kind="mold-cks.gpu-amd64"),
    ]
    index = PublishedIndex(isos=(*others, *reversed(wanted), new))
    assert index.before(new, 10) == wanted
    assert index.before(new, 2) == wanted[:2]
    assert index.before(new, 0) == []


@pytest.mark.parametrize("name", ["../x.delta", "a/b.delta", ".hidden", "", "x\n"])
def test_an_index_names_no_file_outside_of_the_place(name: str, folder: Released) -> None:
    text = beside(folder) / "index.json"
    made(folder)
    data = text.read_text()
    delta = index_of(folder.target.place).deltas[0].name
    text.write_text(data.replace(delta, name.replace("\n", "\\n")))
    with pytest.raises(InputError, match=r"index\.json:\d+:\d+: deltas\[.*\.name: "):
        index_of(folder.target.place)
