"""The words with which servers refuse, in errors."""

from __future__ import annotations

import base64
import json

import pytest

from isobuilder.errors import UpstreamError
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.sources.mirrors import first_good
from isobuilder.sources.reasons import reason_in, with_reason
from isobuilder.text import masked
from tests.fakes.hostile import FileServer, answer

DENIED = {"errors": [{"code": "DENIED", "message": "the licence was not accepted"}]}


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (DENIED, "application/json", "DENIED: the licence was not accepted"),
        (DENIED, "text/plain; charset=utf-8", "DENIED: the licence was not accepted"),
        (
            {"errors": [{"code": "TOOMANYREQUESTS", "message": "limit reached", "detail": None}]},
            "",
            "TOOMANYREQUESTS: limit reached",
        ),
        ({"errors": [{"code": "A", "message": "a"}, {"code": "B"}]}, "", "A: a: B"),
        ({"details": "incorrect username or password"}, "", "incorrect username or password"),
        ({"error": "invalid_scope", "error_description": "no such"}, "", "invalid_scope: no such"),
        ({"message": "Not Found", "documentation_url": "https://x"}, "", "Not Found"),
        ({"errors": ["denied"]}, "", "denied"),
        ({"errors": {"code": "DENIED"}}, "", "DENIED"),
        ({"errors": []}, "", ""),
        ({"errors": [7, None, {"message": 5}]}, "", ""),
        ("no JSON but text", "text/plain", "no JSON but text"),
        ("one line\nanother", "text/plain", "one line"),
        ("<html>Log in</html>", "text/html", ""),
        (
            "<Error><Code>AccessDenied</Code><Message>No</Message></Error>",
            "application/xml",
            "AccessDenied: No",
        ),
        ("{cut", "application/json", ""),
        ("", "text/plain", ""),
    ],
)
def test_what_a_server_says_is_read_in_each_form(body: object, kind: str, told: str) -> None:
    data = body if isinstance(body, str) else json.dumps(body)
    assert reason_in(data.encode(), kind) == told


def test_what_a_server_says_is_one_short_printable_line() -> None:
    body = json.dumps({"message": "\x1b[31m" + "x" * 5000 + "\n"}).encode()
    told = reason_in(body, "")
    assert told.startswith("\\x1b[31mxxx")
    assert len(told) == 300
    assert told.isprintable()


@pytest.mark.parametrize("status", [400, 403, 404, 412, 429, 451, 500])
def test_the_reason_and_a_hint_that_fits_the_status_are_in_the_error(
    status: int, http: Http, files: FileServer
) -> None:
    refusal = answer(json.dumps(DENIED).encode(), status, Content_Type="application/json")
    url = files.add("x", b"", always=refusal)
    with pytest.raises(UpstreamError, match="DENIED: the licence was not accepted") as caught:
        first_good("x", [url], lambda at: http.get_small(at, limit=100))
    if status == 500:
        assert caught.value.hint is None  # the command line then says: run the same command again
    elif status == 429:
        assert "as long as the server asks" in (caught.value.hint or "")
    else:
        assert "run the same" not in (caught.value.hint or "run the same")


@pytest.mark.parametrize(
    ("auth", "secret"),
    [
        (f"Basic {base64.b64encode(b'me:pass word').decode()}", "pass word"),
        (f"basic {base64.b64encode('나:암호/입니다'.encode()).decode()}", "암호/입니다"),
        ("Bearer eyJh/bc+d/ef==", "eyJh/bc+d/ef=="),
        ("Basic no base 64", "no base 64"),
    ],
)
@pytest.mark.parametrize("form", ["{auth}", "your password {secret} is wrong"])
@pytest.mark.parametrize("written", ["plainly", "in ASCII", "as PHP does", "as Gson does"])
def test_a_server_that_repeats_what_it_was_sent_gives_no_secret_away(
    auth: str, secret: str, form: str, written: str, http: Http, files: FileServer
) -> None:
    said = form.format(auth=auth, secret=secret)
    told = {"errors": [{"code": "DENIED", "message": said}]}
    body = json.dumps(told, ensure_ascii=written == "in ASCII")
    if written == "as PHP does":
        body = body.replace("/", "\\/")
    elif written == "as Gson does":
        body = body.replace("=", "\\u003d")
    refusal = answer(body.encode(), 403, Content_Type="application/json")
    url = files.add("x", b"", always=refusal)
    with pytest.raises(HttpFailure) as caught:
        http.get_small(url, limit=100, auth=auth)
    shown = str(with_reason(caught.value))
    assert "DENIED: " in shown
    assert "***" in shown
    assert not any(part in shown for part in (secret, auth.partition(" ")[2]))


@pytest.mark.parametrize(
    ("text", "secrets", "left"),
    [
        ("a=x%2By%3D&b=x+y=, abc", ["x+y=", "abc"], "a=***&b=***, abc"),
        ("a=x%2by%3d, b=a+word", ["x+y=", "a word"], "a=***, b=***"),
        (
            r"\ud55c\uAD6D\uc554\ud638, %ED%95%9C%ea%b5%ad%ec%95%94%ed%98%b8",
            ["한국암호"],
            "***, ***",
        ),
        ("secrets and secret", ["secret", "secrets"], "*** and ***"),
        (f"begin {'t' * 60}", ["t" * 2000], "begin ***"),
        (f"begin {'t' * 47}", ["t" * 2000], f"begin {'t' * 47}"),
    ],
)
def test_what_is_masked_is_so_however_it_is_written_and_no_short_word_is(
    text: str, secrets: list[str], left: str
) -> None:
    assert masked(text, secrets) == left
