"""What registries write into WWW-Authenticate."""

from __future__ import annotations

import time

import pytest

from isobuilder.sources.registry_tokens import Challenge, parse_challenge

TOKEN = Challenge("bearer", "https://auth.example/token", "registry", "repository:a/b:pull")


@pytest.mark.parametrize(
    "header",
    [
        'Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull"',
        'bearer realm="https://auth.example/token", service=registry , scope="repository:a/b:pull"',
        'Basic realm="x", Bearer realm="https://auth.example/token",service="registry",'
        'scope="repository:a/b:pull",error="invalid_token"',
        'Bearer scope="repository:a/b:pull",service="registry",realm="https://auth.example/token"'
        ', Basic realm="x"',
    ],
)
def test_a_bearer_challenge_is_read_in_every_spelling(header: str) -> None:
    assert parse_challenge(header) == TOKEN


def test_basic_is_taken_where_there_is_nothing_better() -> None:
    assert parse_challenge('Basic realm="a, b"') == Challenge("basic", "a, b")


@pytest.mark.parametrize("header", ["", "Negotiate", "Digest realm=x", "Bearer", "====", '"'])
def test_what_we_cannot_answer_is_no_challenge(header: str) -> None:
    assert parse_challenge(header) in {None, Challenge("bearer")}


@pytest.mark.parametrize("filler", ["a", "_", "a_", " ", "a=b,", 'Bearer a="', "a ", "a =", ","])
@pytest.mark.parametrize("begin", ["Bearer ", ""])
def test_a_hostile_header_costs_no_time(begin: str, filler: str) -> None:
    began = time.process_time()
    parse_challenge(begin + filler * 60000)
    assert time.process_time() - began < 2
