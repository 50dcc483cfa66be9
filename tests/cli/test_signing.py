"""Signing an ISO, and what is refused when a signature is demanded."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isobuilder.pipeline.build import Built
from isobuilder.trust.dsse import IN_TOTO, pae
from tests.cli.calling import call, errors, hints
from tests.pipeline.signed import (
    altered,
    bundle_of,
    copied,
    new_key,
    openssl,
    resigned,
    statement_in,
)
from tests.pipeline.world import Locked, World


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "second", "stranger"):
        new_key(folder, name)
    new_key(folder, "wrong", curve="P-384")
    new_key(folder, "locked", password="hunter2 and more")
    return folder


@pytest.fixture
def iso(built: Built, tmp_path: Path) -> Path:
    return copied(built, tmp_path / "dist")


@pytest.fixture
def signed(iso: Path, keys: Path) -> Path:
    """An ISO beside which our signature lies."""
    call("sign", iso, "--key", keys / "ours.pem", "--builder", "https://a.example/ci")
    return iso


def verified(iso: Path, *options: str | Path, code: int = 0) -> dict[str, Any]:
    done = call("verify", iso, "--no-layers", "--json", *options, code=code)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def facts(found: dict[str, Any], severity: str = "error") -> list[str]:
    return [
        one["fact"]
        for one in found["findings"]
        if one["rule"] == "signature" and one["severity"] == severity
    ]


# --- what holds ---


def test_a_signed_iso_is_good_by_the_public_key_alone(signed: Path, keys: Path) -> None:
    done = call("verify", signed, "--no-layers", "--key", keys / "ours.pub")
    claim, verdict = done.stdout.splitlines()
    assert claim.startswith("signed by ours (sha256:")
    assert "built by https://a.example/ci, on 20" in claim
    assert verdict.startswith("good: ")
    assert ", signatures" in verdict


def test_a_pipe_beside_the_iso_is_not_waited_for(iso: Path, keys: Path) -> None:
    (lock := iso.with_suffix(".lock.json")).unlink()
    os.mkfifo(lock)
    done = call("sign", iso, "--key", keys / "ours.pem", code=3)
    assert errors(done) == [f"error: {lock}: is no file"]


def test_openssl_finds_the_signature_good(signed: Path, keys: Path, tmp_path: Path) -> None:
    bundle = json.loads(bundle_of(signed).read_bytes())
    envelope = bundle["dsseEnvelope"]
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "pae").write_bytes(pae(IN_TOTO, base64.b64decode(envelope["payload"])))
    words = ("-verify", keys / "ours.pub", "-signature", tmp_path / "sig", tmp_path / "pae")
    assert openssl("dgst", "-sha256", *words) == b"Verified OK\n"
    der = openssl("pkey", "-pubin", "-in", keys / "ours.pub", "-outform", "DER")
    hint = base64.b64encode(hashlib.sha256(der).digest()).decode()
    assert bundle["verificationMaterial"]["publicKey"]["hint"] == hint


def test_the_statement_names_the_iso_each_file_and_all_it_is_made_of(
    signed: Path, built: Built
) -> None:
    statement = statement_in(bundle_of(signed))
    named = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert named[signed.name] == built.digest.hex
    listed = json.loads(signed.with_suffix(".manifest.json").read_bytes())["files"]
    assert listed.items() <= named.items()
    assert named.keys() - listed.keys() == {signed.name, "manifest.json", "SHA256SUMS"}
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["lock"] == built.lock.digest
    materials = {one["name"]: one["digest"]["sha256"] for one in definition["resolvedDependencies"]}
    assert materials["k8s/kubeadm"] == next(
        file.sha256.hex for file in built.lock.files if file.name == "kubeadm"
    )
    assert {image.reference for image in built.lock.images} <= materials.keys()


def test_the_same_moment_and_builder_sign_the_same_statement(
    iso: Path, keys: Path, tmp_path: Path
) -> None:
    at = {"SOURCE_DATE_EPOCH": "1790183182"}
    for name in ("one", "two"):
        call("sign", iso, "--key", keys / "ours.pem", "--out", tmp_path / name, env=at)
    one, two = (statement_in(tmp_path / name) for name in ("one", "two"))
    assert one == two
    assert one["predicate"]["runDetails"]["metadata"]["finishedOn"] == "2026-09-23T17:06:22Z"


def test_signing_again_changes_nothing(signed: Path, keys: Path) -> None:
    before = bundle_of(signed).read_bytes()
    done = call("sign", signed, "--key", keys / "ours.pem", "--builder", "https://a.example/ci")
    assert "signed before: " in done.stderr
    assert bundle_of(signed).read_bytes() == before


def test_a_build_signs_as_sign_does(
    world: World, locked: Locked, keys: Path, full_store: Any, built: Built, tmp_path: Path
) -> None:
    common = ("--config", world.config_file, "--store", full_store.root)
    words = ("build", locked.path, "--out", tmp_path, "--sign", "--key", keys / "ours.pem")
    made = json.loads(call(*words, "--json", *common).stdout)[0]
    iso = Path(made["iso"])
    assert made["signature"] == str(bundle_of(iso))
    subjects = statement_in(bundle_of(iso))["subject"]
    bundle_of(iso).unlink()
    call("sign", iso, "--key", keys / "ours.pem")
    assert statement_in(bundle_of(iso))["subject"] == subjects
    assert verified(iso, "--key", keys / "ours.pub")["passed"]


# --- two builders ---


def test_two_builders_who_agree_are_demanded(signed: Path, keys: Path) -> None:
    both = ("--key", keys / "ours.pub", "--key", keys / "second.pub", "--signatures", "2")
    found = verified(signed, *both, code=5)
    assert facts(found) == [
        "expected 2 builders with keys of their own, got 1: ours for https://a.example/ci"
    ]
    call("sign", signed, "--key", keys / "second.pem", "--builder", "https://b.example/ci")
    assert verified(signed, *both)["passed"]
    assert verified(signed, "--key", keys / "ours.pub")["passed"]  # the other one is no fault


@pytest.mark.parametrize(
    ("key", "builder"),
    [("second", "https://a.example/ci"), ("ours", "https://b.example/ci")],
    ids=["one builder with two keys", "one key for two builders"],
)
def test_one_party_is_not_two(signed: Path, keys: Path, key: str, builder: str) -> None:
    out = signed.with_name(f"{signed.name.removesuffix('.iso')}.other.sigstore.json")
    call("sign", signed, "--key", keys / f"{key}.pem", "--builder", builder, "--out", out)
    both = ("--key", keys / "ours.pub", "--key", keys / "second.pub", "--signatures", "2")
    assert facts(verified(signed, *both, code=5))[0].startswith("expected 2 builders")


def test_builders_who_disagree_on_the_digest_are_told(signed: Path, keys: Path) -> None:
    call("sign", signed, "--key", keys / "second.pem", "--builder", "https://b.example/ci")
    (other,) = set(signed.parent.glob("*.sigstore.json")) - {bundle_of(signed)}
    resigned(other, keys / "second.pem", another_iso)
    both = ("--key", keys / "ours.pub", "--key", keys / "second.pub", "--signatures", "2")
    told = facts(verified(signed, *both, code=5))
    assert any("it is of another ISO" in fact for fact in told)
    assert any("expected 2 builders" in fact for fact in told)


# --- what is refused ---


def another_iso(statement: dict[str, Any]) -> None:
    statement["subject"][0]["digest"]["sha256"] = "ab" * 32


def without_signature(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


def two_signatures(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def changed_statement(bundle: dict[str, Any]) -> None:
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    spoiled = payload.replace(b"https://a.example/ci", b"https://z.example/ci")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(spoiled).decode()


def cut_off(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"][:-5]


def old_bundle(bundle: dict[str, Any]) -> None:
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"


def of_another_type(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "text/plain"


def of_bare_bytes(bundle: dict[str, Any]) -> None:
    bundle["messageSignature"] = bundle.pop("dsseEnvelope")


@pytest.mark.parametrize(
    ("spoil", "fact"),
    [
        (changed_statement, "the statement was changed"),
        (cut_off, "payload: expected base64"),
        (without_signature, "signatures: expected 1 to 16, found 0"),
        (two_signatures, "expected one signature in a bundle, found 2"),
        (old_bundle, "expected a Sigstore bundle of version 0.3, found"),
        (of_another_type, "payloadType: expected application/vnd.in-toto+json"),
        (of_bare_bytes, "no statement in it"),
    ],
)
def test_a_spoiled_bundle_is_refused(
    signed: Path, keys: Path, spoil: Callable[[dict[str, Any]], None], fact: str
) -> None:
    altered(bundle_of(signed), spoil)
    found = verified(signed, "--key", keys / "ours.pub", code=5)
    assert fact in facts(found)[0]
    assert found["signed"] == []
    assert found["proved"] == []


def test_the_signature_of_an_older_iso_is_refused(signed: Path, keys: Path) -> None:
    resigned(bundle_of(signed), keys / "ours.pem", another_iso)
    (replayed, missing) = facts(verified(signed, "--key", keys / "ours.pub", code=5))
    assert "it is of another ISO" in replayed
    assert "sha256:abababab" in replayed
    assert missing == "no signature by a key that counts"


def test_a_statement_that_is_wrong_about_a_file_is_refused(signed: Path, keys: Path) -> None:
    def lie(statement: dict[str, Any]) -> None:
        statement["subject"][1]["digest"]["sha256"] = "cd" * 32

    resigned(bundle_of(signed), keys / "ours.pem", lie)
    told = facts(verified(signed, "--key", keys / "ours.pub", code=5))
    assert "sha256:cdcd" in told[0]


def test_a_signed_text_that_is_no_statement_is_refused(signed: Path, keys: Path) -> None:
    resigned(bundle_of(signed), keys / "ours.pem", lambda said: said.pop("_type"))
    told = facts(verified(signed, "--key", keys / "ours.pub", code=5))
    assert "expected an in-toto statement" in told[0]


def test_the_signature_of_a_stranger_does_not_count(iso: Path, keys: Path) -> None:
    call("sign", iso, "--key", keys / "stranger.pem")
    found = verified(iso, "--key", keys / "ours.pub", code=5)
    assert facts(found) == ["no signature by a key that counts"]
    assert facts(found, "warning")[0].startswith("does not count: by another key, sha256:")


def test_no_signature_at_all_is_told_with_its_name(iso: Path, keys: Path) -> None:
    found = verified(iso, "--key", keys / "ours.pub", code=5)
    (finding,) = [one for one in found["findings"] if one["rule"] == "signature"]
    assert finding["place"] == bundle_of(iso).name
    assert finding["fact"].endswith("there is no such file beside the ISO")


def test_a_good_signature_beside_a_spoiled_one_is_still_not_good(signed: Path, keys: Path) -> None:
    other = signed.with_name(f"{signed.name.removesuffix('.iso')}.x.sigstore.json")
    shutil.copyfile(bundle_of(signed), other)
    altered(other, changed_statement)
    found = verified(signed, "--key", keys / "ours.pub", code=5)
    assert len(found["signed"]) == 1
    assert not found["passed"]


@pytest.mark.parametrize("what", ["iso", "lock"])
def test_what_is_not_whole_is_not_signed(iso: Path, keys: Path, built: Built, what: str) -> None:
    if what == "iso":
        with iso.open("r+b") as file:
            file.seek(built.size // 2)
            file.write(b"spoiled bytes")
        done = call("sign", iso, "--key", keys / "ours.pem", code=5)
        assert "not signed: " in errors(done)[0]
    else:
        lock = json.loads(iso.with_suffix(".lock.json").read_bytes())
        lock["revision"] = 7
        iso.with_suffix(".lock.json").write_text(json.dumps(lock))
        done = call("sign", iso, "--key", keys / "ours.pem", code=3)
        assert "built from the lock" in errors(done)[0]
    assert not bundle_of(iso).exists()


# --- keys ---


def test_a_key_of_another_curve_is_refused(signed: Path, keys: Path) -> None:
    for words in (
        ("sign", signed, "--key", keys / "wrong.pem"),
        ("verify", signed, "--key", keys / "wrong.pub"),
    ):
        done = call(*words, code=3)
        assert "expected a key for ECDSA over P-256, got one for secp384r1" in errors(done)[0]


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (b"", "no key in it"),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "not a public key in PEM",
        ),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a public key in"),
        (b"keys: 7\nschema: 1\n", "keys: expected a list"),
    ],
    ids=["nothing", "no key", "certificate", "no list"],
)
def test_what_is_no_key_is_refused(signed: Path, tmp_path: Path, text: bytes, fact: str) -> None:
    file = tmp_path / "x.pub"
    file.write_bytes(text)
    done = call("verify", signed, "--key", file, code=3)
    assert fact in done.stderr or "the file is empty" in done.stderr


def test_a_private_key_where_a_public_one_belongs_is_told(signed: Path, keys: Path) -> None:
    done = call("verify", signed, "--key", keys / "ours.pem", code=3)
    assert "a private key, where its public half is expected" in errors(done)[0]
    assert "PRIVATE KEY-----" not in done.output


def test_the_public_key_is_printed(keys: Path) -> None:
    done = call("sign", "--key", keys / "ours.pem", "--print-key")
    assert done.stdout == (keys / "ours.pub").read_text()


def test_a_passphrase_comes_from_the_environment_or_a_file(
    iso: Path, keys: Path, tmp_path: Path
) -> None:
    words = ("sign", iso, "--key", keys / "locked.pem")
    done = call(*words, code=3)
    assert "the key has a passphrase, and none is given" in errors(done)[0]
    assert "ISOBUILDER_KEY_PASSWORD" in hints(done)[0]
    done = call(*words, code=3, env={"ISOBUILDER_KEY_PASSWORD": "hunter3 and more"})
    assert "the passphrase does not open the key" in errors(done)[0]
    assert "hunter" not in done.output
    (tmp_path / "secret").write_text("hunter2 and more\nsecond line\n")
    call(*words, "-vv", env={"ISOBUILDER_KEY_PASSWORD_FILE": str(tmp_path / "secret")})
    assert verified(iso, "--key", keys / "locked.pub")["passed"]


def listed(folder: Path, keys: Path, text: str) -> Path:
    for name in ("ours", "second"):
        shutil.copyfile(keys / f"{name}.pub", folder / f"{name}.pub")
    path = folder / "keys.yaml"
    path.write_text(f"schema: 1\n{text}")
    return path


@pytest.mark.parametrize(
    ("window", "fact"),
    [
        ("first: 2026-01-01, last: 2026-12-31", None),
        ("first: 2026-09-24", "was made on 2026-09-23, before the key is good: 2026-09-24"),
        ("last: 2026-09-22", "was made on 2026-09-23, after the key was good: 2026-09-22"),
        ("builder: 'https://a.example/ci'", None),
        ("builder: 'https://b.example/ci'", "signs for the builder https://b.example/ci, got"),
    ],
)
def test_a_listed_key_is_good_for_its_days_and_builder(
    iso: Path, keys: Path, tmp_path: Path, window: str, fact: str | None
) -> None:
    words = ("sign", iso, "--key", keys / "ours.pem", "--builder", "https://a.example/ci")
    call(*words, env={"SOURCE_DATE_EPOCH": "1790183182"})
    path = listed(tmp_path, keys, f"keys: [{{name: release, key: ours.pub, {window}}}]\n")
    found = verified(iso, "--key", path, code=0 if fact is None else 5)
    if fact is None:
        assert found["signed"][0].startswith("signed by release (sha256:")
    else:
        assert fact in facts(found)[0]


def test_after_a_rotation_old_and_new_isos_are_good(
    signed: Path, keys: Path, tmp_path: Path
) -> None:
    text = "keys: [{name: new, key: second.pub}, {name: old, key: ours.pub}]\n"
    assert verified(signed, "--key", listed(tmp_path, keys, text))["passed"]
    call("sign", signed, "--key", keys / "second.pem")
    assert len(verified(signed, "--key", listed(tmp_path, keys, text))["signed"]) == 2


def test_a_revoked_key_counts_for_nothing(signed: Path, keys: Path, tmp_path: Path) -> None:
    (claim,) = verified(signed, "--key", keys / "ours.pub")["signed"]
    key = claim.partition("(")[2].partition(")")[0]
    gone = tmp_path / "revoked.yaml"
    gone.write_text(f"schema: 1\nrevoked: [{{key: '{key}', why: laptop lost}}]\n")
    found = verified(signed, "--key", keys / "ours.pub", "--revoked", gone, code=5)
    assert "was revoked: laptop lost" in facts(found)[0]
    assert found["signed"] == []


def test_a_list_of_keys_reads_no_file_outside_its_folder(
    signed: Path, keys: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    path = listed(tmp_path / "in", keys, "keys: [{name: a, key: ../../secret.pub}]\n")
    done = call("verify", signed, "--key", path, code=3)
    assert "is not below" in errors(done)[0]


def test_days_in_the_wrong_order_are_told(signed: Path, keys: Path, tmp_path: Path) -> None:
    text = "keys: [{name: a, key: ours.pub, first: 2026-02-01, last: 2026-01-01}]\n"
    done = call("verify", signed, "--key", listed(tmp_path, keys, text), code=3)
    assert "expected last not before first" in done.stderr


@pytest.mark.parametrize("builder", ["a\nb", "a\u2028b", "", "a" * 501])
def test_what_a_policy_could_not_name_as_builder_is_not_signed(
    builder: str, iso: Path, keys: Path
) -> None:
    key = ("--key", keys / "ours.pem")
    for words in (("sign", iso), ("build", iso, "--sign")):
        done = call(*words, *key, "--builder", builder, code=2)
        assert "'--builder'" in errors(done)[0]
        assert "expected one line of 1 to 500 characters, got " in errors(done)[0]
    if builder:  # an empty variable is none
        done = call("sign", iso, *key, code=2, env={"ISOBUILDER_BUILDER": builder})
        assert "'--builder'" in errors(done)[0]
    assert not iso.with_name(f"{iso.stem}.sigstore.json").exists()


def test_options_without_a_key_are_refused(signed: Path, keys: Path) -> None:
    done = call("verify", signed, "--signatures", "2", code=2)
    assert "whose signature? no key is given" in errors(done)[0]
    assert "what is to be signed with? no --key" in errors(call("sign", signed, code=2))[0]
    assert "which ISO" in errors(call("sign", "--key", keys / "ours.pem", code=2))[0]
    done = call(
        "sign", signed, "--key", keys / "ours.pem", code=2, env={"SOURCE_DATE_EPOCH": "yesterday"}
    )
    assert "SOURCE_DATE_EPOCH" in errors(done)[0]


# --- a signer program ---


SIGNER = """\
#!/bin/sh
[ "$VAULT_TOKEN" = s3cret ] || { echo "token $2 refused: $VAULT_TOKEN" >&2; exit 3; }
case "$3" in
public-key) cat "$1/ours.pub" ;;
sign) openssl dgst -sha256 -sign "$1/ours.pem" | openssl base64 -A ;;
esac
"""


@pytest.fixture
def signer(tmp_path: Path) -> Path:
    path = tmp_path / "signer"
    path.write_text(SIGNER)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_program_signs(iso: Path, keys: Path, signer: Path) -> None:
    env = {"ISOBUILDER_SIGNER": f"{signer} '{keys}' word", "VAULT_TOKEN": "s3cret"}
    call("sign", iso, env=env)
    assert verified(iso, "--key", keys / "ours.pub")["passed"]


def test_nothing_of_what_a_failing_program_knows_is_told(
    iso: Path, keys: Path, signer: Path
) -> None:
    env = {"ISOBUILDER_SIGNER": f"{signer} '{keys}' p4ssword", "VAULT_TOKEN": "wr0ng"}
    done = call("sign", iso, "-vv", code=6, env=env)
    assert f"{signer}: exit 3" in errors(done)[0]
    assert "p4ssword" not in done.output
    assert "wr0ng" not in done.output


@pytest.mark.parametrize(
    ("prints", "fact"),
    [("echo AAAA", "the signer made no signature of its key"), ("echo no base64", "in base64")],
)
def test_a_program_that_signs_badly_leaves_no_signature(
    iso: Path, keys: Path, signer: Path, prints: str, fact: str
) -> None:
    signer.write_text(SIGNER.replace("openssl dgst", f"{prints}; exit 0; openssl dgst"))
    env = {"ISOBUILDER_SIGNER": f"{signer} '{keys}' w", "VAULT_TOKEN": "s3cret"}
    done = call("sign", iso, code=5, env=env)
    assert fact in errors(done)[0]
    assert not bundle_of(iso).exists()


def test_a_program_that_is_not_there_is_told(iso: Path) -> None:
    done = call("sign", iso, code=6, env={"ISOBUILDER_SIGNER": "/nowhere/signer --pin 1234"})
    assert errors(done) == ["error: /nowhere/signer: not installed"]
