"""A secret on its way to an ISO stops the build, with file, layer and place."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from isobuilder.content.leaks import leaks_of, read_allowed, refuse_leaks
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import IntegrityError
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.pipeline.build import Built, build
from isobuilder.sources.session import Session
from isobuilder.store import Store
from tests.pipeline.signed import new_key


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return new_key(tmp_path_factory.mktemp("key"), "x").read_bytes()


def layer(files: dict[str, bytes], *, packed: bool = True) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(made.getvalue()) if packed else made.getvalue()


def entry(store: Store, path: str, data: bytes) -> IsoEntry:
    return IsoEntry(path, 0o644, (store.add_bytes(data),))


def test_file_layer_and_place_are_told_and_the_secret_is_not(store: Store, key: bytes) -> None:
    data = layer({"etc/motd": b"hello", "root/.ssh/id_rsa": b"\n\n" + key})
    image = entry(store, "docker/" + "a" * 64 + ".tar", data)
    with pytest.raises(IntegrityError) as caught:
        refuse_leaks([entry(store, "k8s/kubeadm", b"\x7fELF\0"), image], store)
    (line,) = caught.value.lines
    blob = store.add_bytes(data).digest
    assert line.startswith(
        f"docker/{'a' * 64}.tar: {blob}: root/.ssh/id_rsa: byte 2: it looks like"
    )
    assert "(private-key, its text is sha256:" in line
    assert key.splitlines()[1].decode() not in line
    assert "allowed_leaks" in str(caught.value.hint)


@pytest.mark.parametrize("packed", [True, False])
def test_every_container_of_files_is_looked_into(store: Store, key: bytes, packed: bool) -> None:
    made = entry(store, "cni/plugins.tgz", layer({"./x": key}, packed=packed))
    assert [one.place for one in leaks_of([made], store)] == ["cni/plugins.tgz: x"]
    plain = IsoEntry("config.yaml", 0o644, (b"tls: |\n" + key,))
    assert [one.place for one in leaks_of([plain], store)] == ["config.yaml"]
    zipped = entry(store, "b.gz", gzip.compress(key))
    assert [one.place for one in leaks_of([zipped], store)] == ["b.gz"]


def test_what_was_searched_is_not_read_again(store: Store, key: bytes) -> None:
    made = [entry(store, "a", layer({"x": key})), entry(store, "b", b"nothing")]
    before = list(leaks_of(made, store))
    for path in (store.root / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    assert list(leaks_of(made, store)) == before


def test_a_damaged_note_is_found_out_again(store: Store, key: bytes) -> None:
    made = [entry(store, "a", key)]
    before = list(leaks_of(made, store))
    assert len(before) == 1
    store.remember("searched-1", made[0].pieces[0].digest, b"[7]")  # type: ignore[union-attr]
    assert list(leaks_of(made, store)) == before


def test_what_is_allowed_by_its_digest_passes(store: Store, key: bytes, tmp_path: Path) -> None:
    made = [entry(store, "a", key)]
    (found,) = leaks_of(made, store)
    file = tmp_path / "allowed.yaml"
    file.write_text(f"schema: 1\nallowed: [{{text: '{found.leak.digest}', why: a test's}}]\n")
    refuse_leaks(made, store, read_allowed(file))
    file.write_text("schema: 1\nallowed: [{text: abc}]\n")
    with pytest.raises(InputErrors, match="sha256: and 64"):
        read_allowed(file)


def test_a_damaged_archive_is_for_others_to_tell(store: Store) -> None:
    cut = layer({"x": b"abc" * 10_000})[:-40]
    assert list(leaks_of([entry(store, "a.tgz", cut)], store)) == []


def test_a_build_with_a_secret_leaves_no_iso(
    built: Built, session: Session, key: bytes, tmp_path: Path
) -> None:
    kubeadm = next(file for file in built.lock.files if file.name == "kubeadm")
    blob = session.store.add_bytes(b"\x7fELF\0" + key)
    file = kubeadm.model_copy(update={"sha256": blob.digest, "size": blob.size})
    others = tuple(one for one in built.lock.files if one.name != "kubeadm")
    lock = built.lock.model_copy(update={"files": (file, *others)})
    with pytest.raises(IntegrityError, match="k8s/kubeadm: byte 5: it looks like a secret"):
        build(lock, tmp_path / "out", session)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_demo_has_no_secret(built: Built, session: Session, tmp_path: Path) -> None:
    assert build(built.lock, tmp_path, session).digest == built.digest
