"""OpenPGP signatures count by the fingerprints that a policy pins, whatever else a keyring has."""

from __future__ import annotations

from pathlib import Path

import pysequoia
import pytest
from pysequoia import Tsk

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.model.trust.policies import ExpectedSigner
from isobuilder.trust.evidence import openpgp
from isobuilder.trust.evidence.openpgp import check_clear_signed, check_detached
from isobuilder.trust.evidence.policies import known_policies

DATA = Path(openpgp.__file__).with_name("data")
FILE = b"runc 1.4.3"
LIST = f"{Digest.of(FILE).hex} *runc.amd64\n{Digest.of(b'other').hex} *runc.arm64\n".encode()


@pytest.fixture(scope="module")
def owner() -> Tsk:
    return Tsk.generate("Owner <owner@example.org>")


@pytest.fixture(scope="module")
def stranger() -> Tsk:
    return Tsk.generate("Stranger <stranger@example.org>")


def fingerprint(key: Tsk) -> str:
    return str(key.extract_certificate().fingerprint).upper()


def signed(key: Tsk, data: bytes, *, clear: bool = False) -> bytes:
    mode = pysequoia.SignatureMode.CLEAR if clear else pysequoia.SignatureMode.DETACHED
    return bytes(pysequoia.sign(key.signer(), data, mode=mode))


def expected(*pinned: Tsk, form: str, ring: tuple[Tsk, ...]) -> ExpectedSigner:
    return ExpectedSigner.model_validate(
        {
            "fingerprints": tuple(fingerprint(key) for key in pinned),
            "keyring": "\n".join(str(key.extract_certificate()) for key in ring),
            "form": form,
        }
    )


def test_a_detached_signature_is_proved_by_the_pinned_key(owner: Tsk, stranger: Tsk) -> None:
    policy = expected(owner, form="detached", ring=(owner, stranger))
    found = check_detached(signed(owner, FILE), FILE, policy, "runc.asc")
    assert found.by == fingerprint(owner)
    assert found.moment is not None
    with pytest.raises(IntegrityError, match=r"runc\.asc: OpenPGP: not signed by"):
        check_detached(signed(owner, FILE), b"runc 6.6.6", policy, "runc.asc")
    with pytest.raises(IntegrityError, match=r"runc\.asc: OpenPGP: not signed by"):
        check_detached(signed(stranger, FILE), FILE, policy, "runc.asc")
    with pytest.raises(IntegrityError, match=r"runc\.asc: OpenPGP: not signed by"):
        check_detached(b"no signature", FILE, policy, "runc.asc")


def test_a_clear_signed_list_is_proved_and_read(owner: Tsk, stranger: Tsk) -> None:
    policy = expected(owner, form="clear-signed", ring=(owner, stranger))
    found = check_clear_signed(signed(owner, LIST, clear=True), policy, "sums")
    assert found.lists("runc.amd64", Digest.of(FILE))
    assert not found.lists("runc.arm64", Digest.of(FILE))
    assert not found.lists("runc.s390x", Digest.of(FILE))
    changed = signed(owner, LIST, clear=True).replace(b"runc.arm64", b"runc.arm65")
    for bad in (changed, signed(stranger, LIST, clear=True), LIST):
        with pytest.raises(IntegrityError, match="sums: OpenPGP: not signed by"):
            check_clear_signed(bad, policy, "sums")


def test_of_several_signatures_that_of_the_pinned_key_counts(owner: Tsk, stranger: Tsk) -> None:
    policy = expected(owner, form="detached", ring=(owner, stranger))
    mode = pysequoia.SignatureMode.DETACHED
    both = [stranger.signer(), owner.signer()]
    armored = b"\n".join(bytes(pysequoia.sign(one, FILE, mode=mode)) for one in both)
    assert check_detached(armored, FILE, policy, "runc.asc").by == fingerprint(owner)
    for wrong, file in ((armored, b"runc 6.6.6"), (signed(stranger, FILE) * 2, FILE)):
        with pytest.raises(IntegrityError, match=r"runc\.asc: OpenPGP: not signed by"):
            check_detached(wrong, file, policy, "runc.asc")


def test_a_list_that_gives_two_digests_for_a_file_proves_neither(owner: Tsk) -> None:
    twice = LIST + f"{Digest.of(b'another').hex} *runc.amd64\n".encode()
    policy = expected(owner, form="clear-signed", ring=(owner,))
    found = check_clear_signed(signed(owner, twice, clear=True), policy, "sums")
    assert not found.lists("runc.amd64", Digest.of(FILE))


def test_a_keyring_that_is_none_is_an_error_of_the_policy(owner: Tsk) -> None:
    policy = expected(owner, form="detached", ring=(owner,))
    odd = policy.model_copy(update={"keyring": "nowhere"})
    with pytest.raises(InputError, match="no keyring 'nowhere' is shipped"):
        check_detached(signed(owner, FILE), FILE, odd, "runc.asc")


@pytest.mark.parametrize("name", ["runc", "helm"])
def test_the_keyrings_that_are_shipped_have_every_key_that_is_pinned(name: str) -> None:
    policy = known_policies()[name].files
    assert policy is not None
    assert policy.keyring == name
    data = (DATA / f"{name}.asc").read_bytes()
    there = {str(key.fingerprint).upper() for key in pysequoia.Cert.split_bytes(data)}
    assert set(policy.fingerprints) <= there
    with pytest.raises(IntegrityError, match="x: OpenPGP: not signed by"):
        check_detached(b"no signature", FILE, policy, "x")
