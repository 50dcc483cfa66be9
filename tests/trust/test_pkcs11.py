"""A key in a token signs, and what is wrong with the way to it is told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.errors import IsobuilderError
from isobuilder.trust.pkcs11 import TokenKey
from isobuilder.trust.publickeys import read_pem
from isobuilder.trust.signers import open_signer
from tests.pipeline.signed import new_key

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "471123"


@pytest.fixture(scope="module")  # the module reads where tokens are once in a process
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A token of SoftHSM that has one key; its private half outside of it."""
    pytest.importorskip("pkcs11", reason="needs the library python-pkcs11")
    if not MODULE.is_file():
        pytest.skip("needs softhsm2")
    folder = tmp_path_factory.mktemp("token")
    key = new_key(folder, "release")
    (folder / "tokens").mkdir()
    (folder / "softhsm.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm.conf"))
        for words in (
            ["--init-token", "--free", "--label", "isos", "--so-pin", "0815"],
            ["--import", str(key), "--token", "isos", "--label", "release", "--id", "A1"],
        ):
            command = ["softhsm2-util", *words, "--pin", PIN]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        yield key


def address(*, token: str = "isos", key: str = "object=release", module: Path = MODULE) -> str:
    return f"pkcs11:token={token};{key}?module-path={module}"


@pytest.mark.parametrize("key", ["object=release", "id=%A1"])
def test_a_token_signs(token: Path, key: str) -> None:
    signer = open_signer(address(key=key), {"ISOBUILDER_PKCS11_PIN": PIN})
    public = read_pem(token.with_suffix(".pub").read_bytes(), "x")
    assert signer.public.fingerprint == public.fingerprint
    assert public.made(signer.sign(b"statement"), b"statement")
    assert PIN not in repr(signer)


@pytest.mark.parametrize(
    ("where", "pin", "fact"),
    [
        (address(key="object=none"), PIN, "there is no such key"),
        (address(token="other"), PIN, "NoSuchToken"),
        (address(module=Path("/nowhere.so")), PIN, "the module /nowhere.so failed"),
        (address(), "999999", "the PIN is wrong"),
    ],
)
def test_what_stands_between_us_and_the_key_is_told(
    token: Path, where: str, pin: str, fact: str
) -> None:
    with pytest.raises(IsobuilderError, match=fact) as caught:
        open_signer(where, {"ISOBUILDER_PKCS11_PIN": pin})
    assert pin not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (f"pkcs11:object=k?module-path=/m.so&pin-value={PIN}", "a PIN in the address"),
        (f"pkcs11:object=k;pin-value={PIN}?module-path=/m.so", "a PIN in the address"),
        ("pkcs11:object=k", "expected pkcs11:"),
        ("pkcs11:token=t?module-path=/m.so", "expected pkcs11:"),
        ("pkcs11:object=k;slot-id=1?module-path=/m.so", "and not slot-id"),
    ],
)
def test_an_address_that_means_no_key_is_refused(text: str, fact: str) -> None:
    with pytest.raises(IsobuilderError, match=fact) as caught:
        TokenKey.parse(text)
    assert PIN not in str(caught.value)
