"""A webhook gets what a run did, signed; its secret is nowhere else."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem, UpstreamError
from isobuilder.http.client import Http
from isobuilder.http.replies import Reply, Request
from isobuilder.http.serving import Server
from isobuilder.http.settings import HttpSettings
from isobuilder.model.policy import Webhook
from isobuilder.publish.webhook import post

SECRET = "s3cret-of-the-hook"
BODY = b'{"text": "Sync"}'


class Hook(Server):
    """Takes what is posted, after it has answered ``first``."""

    def __init__(self, *first: int) -> None:
        super().__init__()
        self.first = list(first)
        self.came: list[tuple[Request, bytes]] = []

    def answer(self, request: Request) -> Reply:
        self.came.append((request, request.body()))
        return Reply(self.first.pop(0) if self.first else 204)


@pytest.fixture
def http() -> Iterator[Http]:
    settings = HttpSettings(retries=3, first_delay=0.01, retry_budget=5.0)
    with Http(settings, netrc=False) as opened:
        yield opened


def hook_of(server: Hook, folder: Path, secret: str | None = SECRET) -> Webhook:
    file = folder / "secret"
    if secret is not None:
        file.write_text(f"{secret}\n")
    return Webhook(url=f"{server.url}/hooks/T0/path-t0ken", secret_file=str(file))


def test_the_body_is_signed_and_the_secret_is_not_sent(http: Http, tmp_path: Path) -> None:
    with Hook() as server:
        post(http, hook_of(server, tmp_path), BODY)
    [(request, body)] = server.came
    digits = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    assert request.headers["x-hub-signature-256"] == f"sha256={digits}"
    assert request.headers["content-type"] == "application/json"
    assert body == BODY
    assert SECRET not in str(request.headers)


def test_without_a_secret_nothing_is_signed(http: Http) -> None:
    with Hook() as server:
        post(http, Webhook(url=server.url), BODY)
    assert "x-hub-signature-256" not in server.came[0][0].headers


def test_what_may_pass_is_tried_again_and_is_known_as_the_same(http: Http, tmp_path: Path) -> None:
    with Hook(500, 503) as server:
        post(http, hook_of(server, tmp_path), BODY)
    assert len({request.headers["x-isobuilder-delivery"] for request, _ in server.came}) == 1
    assert len(server.came) == 3


@pytest.mark.parametrize(("answers", "times"), [((404,), 1), ((500,) * 9, 4), ((302,), 1)])
def test_a_refusal_names_the_host_and_no_secret(
    http: Http,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    answers: tuple[int, ...],
    times: int,
) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="isobuilder")
    with Hook(*answers) as server, pytest.raises(UpstreamError) as refused:
        post(http, hook_of(server, tmp_path), BODY)
    assert len(server.came) == times
    told = "\n".join(refused.value.told()) + caplog.text
    assert f"webhook at 127.0.0.1:{server.port}: answered {answers[0]}" in told
    assert SECRET not in told
    assert "path-t0ken" not in told


@pytest.mark.parametrize("secret", [None, ""])
def test_a_secret_that_is_not_there_sends_nothing(
    http: Http, tmp_path: Path, secret: str | None
) -> None:
    with Hook() as server, pytest.raises(EnvironmentProblem, match="secret"):
        post(http, hook_of(server, tmp_path, secret), BODY)
    assert server.came == []


def test_what_is_sent_has_a_line_of_text_for_those_who_show_only_that() -> None:
    from datetime import date

    from isobuilder.pipeline.upstream.report import SyncReport

    data = json.loads(SyncReport(date(2026, 6, 20)).to_webhook())
    assert data["text"] == "Sync of 2026-06-20: 0 done, 0 failed"
    assert data["steps"] == []
