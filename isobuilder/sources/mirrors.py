"""Several addresses for one thing, and one address that asks for a login."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from isobuilder.errors import InputError, IntegrityError, IsobuilderError, UpstreamError
from isobuilder.http.failure import HttpFailure
from isobuilder.sources.reasons import with_reason

_log = logging.getLogger(__name__)

_MOST_LOGINS = 2  # after a 401: the token may have expired, or need more scope

T = TypeVar("T")
Place = TypeVar("Place")


class OfNoUse(InputError):
    """An address has what was asked for, and it is of no use; another one may have better."""


class NotThere(OfNoUse):
    """An address answers that it does not have what was asked for."""


def if_there(name: str, places: Iterable[Place], ask: Callable[[Place], T]) -> T | None:
    """Return the first answer, as ``first_good``; None if each place says ``NotThere``.

    Raises:
        UpstreamError, IntegrityError, OfNoUse: one of them failed otherwise, and none has it.
    """
    answered = absent = 0

    def asked(place: Place) -> T:
        nonlocal answered, absent
        answered += 1
        try:
            return ask(place)
        except NotThere:
            absent += 1
            raise

    try:
        return first_good(name, places, asked)
    except OfNoUse:
        if answered == absent:
            return None
        raise


def first_good(name: str, places: Iterable[Place], ask: Callable[[Place], T]) -> T:
    """Return the first answer of ``places``, asked in their order; ``name`` is for people.

    Whatever makes an answer useless has to be found by ``ask``, so that the next place is asked.

    Raises:
        UpstreamError, IntegrityError, OfNoUse: none has it; see ``combined``.
    """
    errors: list[IsobuilderError] = []
    for place in places:
        try:
            return ask(place)
        except (UpstreamError, IntegrityError, OfNoUse) as error:
            told = with_reason(error)
            _log.info("%s: %s", name, told)
            errors.append(told)
    raise combined(name, errors)


def combined(name: str, errors: Sequence[IsobuilderError]) -> IsobuilderError:
    """Return the one error that names every address and its reason; wrong bytes weigh most.

    Failures that will not pass have a hint, so that nobody is told to try the same again.
    """
    kind: type[IsobuilderError] = UpstreamError
    if errors and all(isinstance(error, OfNoUse) for error in errors):
        kind = OfNoUse
    if any(isinstance(error, IntegrityError) for error in errors):
        kind = IntegrityError
    hint = next((error.hint for error in errors if error.hint), None)
    if kind is IntegrityError and hint is None:
        hint = "upstream or a mirror serves other bytes than were promised; do not use them"
    reasons = "; ".join(dict.fromkeys(map(str, errors)))
    if len(errors) > 1:
        return kind(f"{name}: none of {len(errors)} addresses delivers: {reasons}", hint=hint)
    return kind(reasons if reasons.startswith(f"{name}:") else f"{name}: {reasons}", hint=hint)


def authorized(
    send: Callable[[str | None], T],
    login: Callable[[HttpFailure | None, str | None], str | None] | None,
) -> T:
    """Return what ``send`` gets with the right Authorization header.

    ``login`` gives the header to begin with, and after a 401 a better one, of which it is told the
    failure and the header that was sent; None means that there is none.

    Raises:
        HttpFailure: no header was good enough, or something else went wrong.
    """
    header = login(None, None) if login else None
    for _ in range(_MOST_LOGINS):
        try:
            return send(header)
        except HttpFailure as failure:
            if failure.status != 401 or login is None:
                raise
            better = login(failure, header)
            if better is None or better == header:
                raise
            header = better
    return send(header)
