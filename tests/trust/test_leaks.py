"""What is of the form of a secret is found, wherever pieces are cut; words about one are none."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isobuilder.trust.leaks import _FORMS, _is_key, search
from tests.pipeline.signed import new_key, openssl

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def word(length: int, letters: str = LETTERS, seed: str = "x") -> str:
    """Letters that mean nothing; no token stands in this file."""
    return "".join(random.Random(seed).choices(letters, k=length))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return new_key(tmp_path_factory.mktemp("key"), "x").read_bytes()


def rsa(folder: Path, *options: str) -> bytes:
    return openssl("genrsa", "-traditional", *options, "1024")


def forms(data: bytes) -> list[str]:
    return [leak.form for leak in search([data])]


def test_private_keys_of_every_writing_are_found(key: bytes, tmp_path: Path) -> None:
    encrypted = rsa(tmp_path, "-aes128", "-passout", "pass:abcd")
    assert b"Proc-Type" in encrypted
    for text in (
        key,
        rsa(tmp_path),
        encrypted,
        key.replace(b"\n", b"\r\n"),
        b'{"private_key": "' + key.replace(b"\n", b"\\n") + b'"}',
        b"key: |\n" + b"".join(b"  " + line + b"\n" for line in key.splitlines()),
    ):
        assert forms(b"before\n" + text + b"after\n") == ["private-key"], text
        assert forms(b"\x7fELF\0\0" + text + b"\0\0") == ["private-key"], text
    assert forms(b"tls.key: " + base64.b64encode(key) + b"\n") == ["encoded-key"]
    assert forms(b"\0" * 20 + base64.b64encode(key)) == ["encoded-key"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("github-token", "ghp" + "_" + word(36)),
        ("github-token", "github" + "_pat_" + word(82)),
        ("gitlab-token", "glpat" + "-" + word(20)),
        ("aws-key", "AKIA" + word(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
        ("slack-token", "xoxb" + "-123456789012-" + word(24)),
        ("google-key", "AIza" + word(35)),
        ("npm-token", "npm" + "_" + word(36)),
        ("pypi-token", "pypi" + "-AgEIcHlwaS5vcmc" + word(80)),
        ("jwt", "eyJhbGciOi" + word(20) + ".eyJ" + word(60) + "." + word(86)),
        ("registry-login", '"auth": "' + word(40) + '"'),
        ("login-in-address", "https://" + "robot:" + word(20) + "@git.example/x"),
    ],
)
def test_tokens_are_found_in_texts(form: str, text: str) -> None:
    assert forms(f"token = {text}\n".encode()) == [form]
    assert forms(text[: len(text) // 2].encode()) == []


@pytest.mark.parametrize(
    "text",
    [
        b"-----BEGIN RSA PRIVATE KEY-----",
        b"-----BEGIN PRIVATE KEY-----\nTEST\n-----END PRIVATE KEY-----",
        b"expected -----BEGIN EC PRIVATE KEY-----\n or a certificate in this file, got another",
        b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 64,
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * 64,
        b"https://user:$PASSWORD@git.example/x and https://user:pass@host/",
        b"ghp_xxxxxxxx, glpat-<token>, npm_config_cache",
    ],
)
def test_words_about_secrets_are_none(text: bytes) -> None:
    assert forms(text) == []


def test_a_certificate_in_base64_is_no_key() -> None:
    text = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"c" * 300)
    assert forms(base64.b64encode(text)) == []


def test_where_pieces_are_cut_makes_no_difference(key: bytes) -> None:
    chance = random.Random(7)
    noise = [word(chance.randrange(9000), seed=str(n)).encode() for n in range(4)]
    token = ("ghp" + "_" + word(36)).encode()
    data = (
        noise[0] + b" " + key + noise[1] + b" " + token + b" " + noise[2] + b"\n" + key + noise[3]
    )
    whole = list(search([data]))
    assert [one.form for one in whole] == ["private-key", "github-token", "private-key"]
    assert [data.find(key), data.find(token), data.rfind(key)] == [one.at for one in whole]
    assert whole[0].digest == whole[2].digest
    for size in (1, 100, 4096, 4097, 10_000):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert list(search(pieces)) == whole, size


def test_a_file_full_of_keys_is_told_at_its_beginning(key: bytes) -> None:
    assert len(list(search([key * 500]))) == 20


WORDS = [
    *("gh", "p_", "github", "_pat_", "glpat", "-", "AKIA", "ASIA", "xoxb", "123456789012", "AIza"),
    *("npm", "_", "pypi", "AgEIcHlwaS5vcmc", "eyJhbGciOi", ".", "eyJ", "LS0tLS1CRUdJTi"),
    *('"auth"', " : ", '"', "http", "s", "://", "robot", ":", "@", "git.example", " ", "\n", "="),
    *("-----BEGIN ", "EC ", "PRIVATE KEY", " BLOCK", "-----", "Proc-Type: 4\n", "\\n", "\u00e9"),
    base64.b64encode(b"-----BEGIN PRIVATE KEY-----" + b"k" * 60).decode(),
    *(word(length) for length in (1, 12, 16, 20, 36, 64)),
    word(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
]


def by_every_form_at_every_byte(data: bytes) -> list[tuple[str, int]]:
    """What a search finds that is slow and plain."""
    found, at = [], 0
    while at < len(data):
        matches = ((name, form.match(data, at)) for name, form in _FORMS.items())
        name, match = next(((name, one) for name, one in matches if one), ("", None))
        if match is not None and (name != "encoded-key" or _is_key(match[0])):
            found.append((name, at))
        at = match.end() if match is not None else at + 1
    return found


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map("".join))
def test_what_every_form_at_every_byte_finds_is_found(text: str) -> None:
    data = text.encode()
    expected = by_every_form_at_every_byte(data)
    assert [(one.form, one.at) for one in search([data])] == expected[:20]
    marked = {"private-key", "encoded-key", "jwt"}
    binary = [(one.form, one.at - 1) for one in search([b"\0" + data])]
    assert {one for one in expected if one[0] in marked} <= set(binary) or len(binary) == 20
