"""A ledger that its site signed, on the same paper, and one that somebody changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from isobuilder.errors import InputError, IntegrityError
from isobuilder.pipeline.build import Built
from isobuilder.site.ledgers.ledger import make_ledger, to_text
from isobuilder.site.ledgers.signed import BroughtLedger, proved, read_brought, sign_ledger
from isobuilder.store import Store
from isobuilder.trust.dsse import IN_TOTO, pae
from isobuilder.trust.publickeys import read_keys
from isobuilder.trust.short import sign_short
from isobuilder.trust.signers import open_signer
from tests.cli.calling import call, errors, hints
from tests.pipeline.signed import new_key, openssl
from tests.site.test_ledger import DIGESTS, chain

DAY = date(2026, 11, 29)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("plant", "next", "stranger"):
        new_key(folder, name)
    return folder


def signed(keys: Path, name: str = "plant", *, day: date = DAY) -> BroughtLedger:
    return sign_ledger(chain(1)[0], open_signer(str(keys / f"{name}.pem")), day)


def test_a_signed_ledger_is_proved_by_the_public_key_alone(keys: Path) -> None:
    made = signed(keys)
    text = made.to_text()
    assert len(text.replace(" ", "")) < len(to_text(made.ledger).replace(" ", "")) + 130
    came = read_brought(text.lower().replace(" ", "\n"), "paper")
    assert came == made
    key = proved(came, read_keys([keys / "plant.pub"]), "paper")
    assert (key.name, came.ledger, came.signature and came.signature.day) == (
        "plant",
        made.ledger,
        DAY,
    )


def test_openssl_finds_the_signature_of_a_ledger_good(keys: Path, tmp_path: Path) -> None:
    made = signed(keys)
    assert made.signature is not None
    days = (DAY - date(1970, 1, 1)).days.to_bytes(2, "big")
    (tmp_path / "data").write_bytes(
        pae("application/vnd.isobuilder.ledger", days + made.ledger.to_bytes())
    )
    numbers = [made.signature.sig[:32].lstrip(b"\0"), made.signature.sig[32:].lstrip(b"\0")]
    parts = [b"\0" * (n[0] > 127) + n for n in numbers]  # Source: X.690, 8.3: INTEGER
    body = b"".join(bytes([2, len(n)]) + n for n in parts)
    (tmp_path / "sig").write_bytes(bytes([0x30, len(body)]) + body)
    words = ("dgst", "-sha256", "-verify", keys / "plant.pub", "-signature", tmp_path / "sig")
    assert b"Verified OK" in openssl(*words, tmp_path / "data")


def test_whatever_is_changed_of_a_signed_ledger_it_does_not_count(keys: Path) -> None:
    """With good letters and seals around it, as somebody would make them who means it."""
    made = signed(keys)
    assert made.signature is not None
    trusted = read_keys([keys / "plant.pub"])
    other = make_ledger("plant", DIGESTS[:9], "isos")
    flipped = [
        replace(
            made.signature,
            sig=bytes([*made.signature.sig[:at], made.signature.sig[at] ^ 1])
            + made.signature.sig[at + 1 :],
        )
        for at in range(64)
    ]
    changed = [
        BroughtLedger(other, made.signature),
        BroughtLedger(made.ledger, replace(made.signature, day=DAY + timedelta(days=1))),
        BroughtLedger(made.ledger, replace(made.signature, sig=bytes(64))),
        *(BroughtLedger(made.ledger, one) for one in flipped),
        signed(keys, "stranger"),
    ]
    for one in changed:
        with pytest.raises(IntegrityError, match="not of any key that counts"):
            proved(read_brought(one.to_text(), "paper"), trusted, "paper")


def test_wrong_letters_of_a_signed_ledger_are_found_before_its_signature(keys: Path) -> None:
    text = signed(keys).to_text().replace(" ", "")
    for at in range(0, len(text), 7):
        with pytest.raises(InputError, match=r"a letter is wrong|no ledger that this"):
            read_brought(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :], "paper")
    groups = signed(keys).to_text().split()
    for at in range(len(groups) - 2):
        moved = [*groups[:at], groups[at + 1], groups[at], *groups[at + 2 :]]
        with pytest.raises(InputError, match=r"do not belong together|no ledger that this"):
            read_brought(" ".join(moved), "paper")
    for cut in range(1, len(groups)):
        with pytest.raises(InputError, match=r"do not belong together|cut off"):
            read_brought(" ".join(groups[:cut]), "paper")


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("keys: [{name: p, key: plant.pub, last: 2026-01-01}]", "after the key was good"),
        ("keys: [{name: p, key: plant.pub, first: 2099-01-01}]", "before the key is good"),
        ("keys: [{name: p, key: plant.pub, builder: 'https://ci'}]", "and for nothing else"),
        ("keys: [{name: p, key: plant.pub}]\nrevoked: [{key: KEY, why: lost}]", "revoked: lost"),
        ("keys: [{name: p, key: next.pub}]", "not of any key that counts"),
    ],
)
def test_a_key_counts_as_its_list_says(listed: str, said: str, keys: Path, tmp_path: Path) -> None:
    for name in ("plant", "next"):
        shutil.copy(keys / f"{name}.pub", tmp_path)
    fingerprint = open_signer(str(keys / "plant.pem")).public.fingerprint
    (tmp_path / "keys.yaml").write_text(f"schema: 1\n{listed.replace('KEY', fingerprint)}\n")
    with pytest.raises(IntegrityError, match=said):
        proved(signed(keys), read_keys([tmp_path / "keys.yaml"]), "paper")


def test_a_signature_of_an_iso_is_none_of_a_ledger(keys: Path) -> None:
    ledger = chain(1)[0]
    signer = open_signer(str(keys / "plant.pem"))
    for kind in (IN_TOTO, ""):
        short = sign_short(ledger.to_bytes(), kind, DAY, signer)
        with pytest.raises(IntegrityError, match="not of any key that counts"):
            proved(BroughtLedger(ledger, short), read_keys([keys / "plant.pub"]), "paper")


def test_once_proved_a_site_has_to_sign(built: Built, keys: Path, tmp_path: Path) -> None:
    iso = Path(shutil.copy(built.iso, tmp_path))
    more = tmp_path / "more.iso"
    more.write_bytes(bytes(32769) + b"CD001" + b"another one")
    paper, picture = tmp_path / "ledger.txt", tmp_path / "ledger.png"
    site = ("--site", "plant-7", "--records", tmp_path / "site")
    office = ("--site", "plant-7", "--records", tmp_path / "office")
    read = ("site", "ledger", "--read", paper, *office)
    ours, theirs = ("--signed-by", keys / "plant.pub"), ("--signed-by", keys / "next.pub")
    sign = ("--sign", "--key", keys / "plant.pem")
    made = call("site", "ledger", iso, *site, "--out", paper, "--out", picture, *sign)
    assert "letters, signed" in made.stderr
    assert "not looked at" in call(*read).stderr
    done = call(*read, *theirs, code=5)
    assert "not of any key that counts" in errors(done)[0]
    assert "signed by plant (sha256:" in call(*read, *ours, iso).stdout
    if shutil.which("zbarimg"):
        scanned = call("site", "ledger", "--read", picture, *office, *ours, "--json")
        assert json.loads(scanned.stdout)["signed_by"].startswith("sha256:")
    call("site", "ledger", iso, more, *site, "--out", paper)
    before = (tmp_path / "office" / "plant-7.json").read_bytes()
    pair = ("site", "delta", iso, more, "--known", paper, "--records", tmp_path / "office")
    assert "is not signed, and plant-7 signed the last" in errors(call(*pair, code=5))[0]
    for options, said in (
        ((), "is not signed, and plant-7 signed the last one"),
        (ours, "is not signed, and a"),
    ):
        done = call(*read, *options, code=5)
        assert said in errors(done)[0]
        assert hints(done)
    call("site", "ledger", iso, more, *site, "--out", paper, "--sign", "--key", keys / "next.pem")
    assert "by whom is not known" in errors(call(*read, code=5))[0]
    assert (tmp_path / "office" / "plant-7.json").read_bytes() == before
    assert "ledger 2, the next one" in call(*read, *ours, *theirs).stdout
    call("site", "ledger", iso, *site, "--out", paper)
    assert "ledger 3, the first" in call(*read, "--forget").stdout


def test_what_a_ledger_leaves_out_has_to_be_signed_where_that_is_asked(
    built: Built, keys: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    call("site", "import", built.iso, "--store", store.root, "--out", tmp_path / "in")
    paper = tmp_path / "ledger.txt"
    site = ("--blobs", "--store", store.root, "--site", "x", "--records", tmp_path)
    lock = built.iso.with_suffix(".lock.json")
    export = ("site", "export", lock, "--from", built.iso, "--offline", "--known", paper)
    demanded = (*export, "--signed-by", keys / "plant.pub", "--out", tmp_path / "b.tar")
    call("site", "ledger", *site, "--out", paper)
    assert "is not signed" in errors(call(*demanded, code=5))[0]
    assert not (tmp_path / "b.tar").exists()
    call("site", "ledger", *site, "--out", paper, "--sign", "--key", keys / "plant.pem")
    call(*demanded)
    isos = ("--site", "y", "--records", tmp_path, "--out", paper)
    call("site", "ledger", built.iso, *isos)
    delta = ("site", "delta", built.iso, tmp_path / "b.tar", "--known", paper)
    done = call(*delta, "--signed-by", keys / "plant.pub", code=5)
    assert "is not signed" in errors(done)[0]


def test_a_key_for_nothing_is_told(built: Built, keys: Path, tmp_path: Path) -> None:
    lock = built.iso.with_suffix(".lock.json")
    ours = ("--signed-by", keys / "plant.pub")
    ledger = ("site", "ledger", "--site", "x", "--records", tmp_path)
    for words in (
        ("site", "export", lock, "--offline", *ours),
        ("site", "delta", built.iso, lock, *ours),
        (*ledger, built.iso, *ours),
        (*ledger, built.iso, "--hand-over"),
        (*ledger, "--read", lock, "--sign"),
        (*ledger, "--read", lock, "--revoked", lock),
    ):
        assert errors(call(*words, code=2))
