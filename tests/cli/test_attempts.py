"""Several things, of which some fail: one exit code, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

from isobuilder.cli.exits import Attempts
from isobuilder.cli.mold.register import _raise_for
from isobuilder.errors import (
    InputError,
    IntegrityError,
    IsobuilderError,
    MoldError,
    PartlyDone,
    UpstreamError,
)
from isobuilder.mold.api.errors import MoldUnreachable
from isobuilder.mold.request import Outcome, ServerResult, ZoneResult

PARTLY, AWAY = PartlyDone("a: 1 of 2 changes were not made"), UpstreamError("b: no answer")


@pytest.mark.parametrize(
    ("errors", "done", "code", "text"),
    [
        ([PARTLY, AWAY], 0, 7, "1 of 2 failed, 1 done in part"),
        ([PARTLY, AWAY], 1, 7, "1 of 3 failed, 1 done in part, the others are done"),
        ([PARTLY, PARTLY], 0, 7, "2 of 2 done in part"),
        ([PARTLY], 0, 7, "a: 1 of 2 changes were not made"),
        ([AWAY], 1, 7, "1 of 2 failed, the others are done"),
        ([AWAY, MoldError("c: refused")], 0, 8, "c: refused"),
        ([AWAY, MoldError("c: refused"), IntegrityError("d: damaged")], 0, 5, "d: damaged"),
        ([AWAY, InputError("e: no credentials")], 0, 3, "e: no credentials"),
    ],
)
def test_the_exit_code_of_several_is_that_of_any_order(
    errors: Sequence[IsobuilderError],
    done: int,
    code: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for order in permutations(errors):
        with pytest.raises(IsobuilderError) as caught:
            Attempts[None](done=done, failures=list(order)).raise_failures()
        assert (caught.value.exit_code, str(caught.value)) == (code, text)
        told = capsys.readouterr().err + text
        assert all(str(error) in told for error in order)


def test_registering_where_no_server_answers_ends_as_one_that_does_not() -> None:
    away = [ServerResult(name, error=MoldUnreachable(f"{name}: no answer")) for name in "ab"]
    with pytest.raises(UpstreamError) as caught:
        _raise_for(away)
    assert caught.value.exit_code == 4
    assert caught.value.lines == ("a: no answer", "b: no answer")
    failed = ZoneResult("Seoul", Outcome.FAILED, "404", None, None)
    with pytest.raises(MoldError):
        _raise_for([*away, ServerResult("c", zones=[failed])])
    ready = ZoneResult("Seoul", Outcome.READY, "", "id", None)
    with pytest.raises(PartlyDone):
        _raise_for([*away, ServerResult("c", zones=[ready])])
