from __future__ import annotations

import pytest

from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.machine.payload import (
    choose_payload,
    has_payload,
    keep_payload,
    needed_by,
    payloads,
    replace_payload,
)
from isobuilder.model.base import canonical_json
from isobuilder.model.payload import OsPayload, read_payload
from isobuilder.store import Store

NAMES = ("kernel", "initrd", "root", "shim", "grub", "mok-manager", "bios", "bios-mbr")


def payload(store: Store, *, kernel: str = "cloud", content: bytes = b"1") -> OsPayload:
    blobs = {name: store.add_bytes(name.encode() + content) for name in NAMES}
    made = OsPayload.model_validate(
        {
            "schema": 1,
            "os": "debian-13",
            "suite": "trixie",
            "kernel": kernel,
            "kernel_version": "6.12.1",
            "architecture": "amd64",
            "epoch": 1,
            "tool": "0",
            "artifacts": {
                name: {"digest": blob.digest, "size": blob.size} for name, blob in blobs.items()
            },
            "packages": (),
        }
    )
    keep_payload(store, made)
    return made


def test_a_kept_payload_is_listed_and_read_back(store: Store) -> None:
    made = payload(store)
    assert payloads(store) == [made]
    assert read_payload(made.to_bytes(), place="here") == made


def test_a_payload_without_one_of_its_artifacts_is_not_listed(store: Store) -> None:
    made = payload(store)
    store.path_of(made.artifacts["root"].digest).unlink()
    assert payloads(store) == []


def test_what_a_payload_needs_includes_its_description(store: Store) -> None:
    made = payload(store)
    assert made.digest in needed_by(made)
    assert len(needed_by(made)) == len(NAMES) + 1


@pytest.mark.parametrize("wanted", ["debian-13", "debian-13-generic", "digest"])
def test_a_payload_is_chosen_by_name_or_digest(store: Store, wanted: str) -> None:
    made = payload(store, kernel="generic")
    name = made.digest[:20] if wanted == "digest" else wanted
    assert choose_payload(store, name, architecture="amd64") == made


@pytest.mark.parametrize("wanted", ["", "debian-1", "debian", "sha256:", "debian-13-cl"])
def test_half_a_name_names_no_payload(store: Store, wanted: str) -> None:
    payload(store)
    found = has_payload(store, wanted, architecture="amd64")
    assert found == (wanted == "debian")


def test_no_payload_says_both_ways_out(store: Store) -> None:
    with pytest.raises(EnvironmentProblem, match="no OS payload debian-13 for amd64") as caught:
        choose_payload(store, "debian-13", architecture="amd64")
    assert "os build" in str(caught.value.hint)
    assert "--no-boot" in str(caught.value.hint)


def test_a_newly_built_payload_takes_the_place_of_the_one_of_its_name(store: Store) -> None:
    old, generic = payload(store), payload(store, kernel="generic")
    new = payload(store, content=b"2")
    replace_payload(store, new)
    assert payloads(store) == [new, generic]
    assert store.find(old.artifacts["root"].digest) is not None


def test_two_payloads_of_one_name_have_to_be_told_apart(store: Store) -> None:
    payload(store)
    payload(store, content=b"2")
    with pytest.raises(EnvironmentProblem, match="several") as caught:
        choose_payload(store, "debian-13", architecture="amd64")
    assert "digest" in str(caught.value.hint)


def test_a_payload_lacks_nothing_of_its_architecture(store: Store) -> None:
    data = payload(store).to_data()
    del data["artifacts"]["bios"]
    with pytest.raises(InputError, match="no artifact bios"):
        read_payload(canonical_json(data), place="here")
