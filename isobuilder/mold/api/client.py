"""Calls of the management server's API, with patience, paging, jobs and honest failures."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from isobuilder.errors import MoldError
from isobuilder.mold.api.access import explain_refusal
from isobuilder.mold.api.clock import SYSTEM_CLOCK, Clock, Poll
from isobuilder.mold.api.credentials import Login, MoldServer
from isobuilder.mold.api.errors import (
    MoldRefused,
    MoldUnreachable,
    OutcomeUnknown,
    StrangeAnswer,
    error_fields,
)
from isobuilder.mold.api.transport import MAX_ANSWER, READS, RequestLost, Transport
from isobuilder.text import moment_of

log = logging.getLogger(__name__)

_PAGE_SIZE = 500  # default.page.size of a server; longer pages are refused
_MAX_PAGES = 2000
_MAX_LISTED = 64 * 1024 * 1024  # characters of a list; 500 versions have about 300,000
# Asking twice leaves what asking once leaves.
_REPEATABLE = {"login", "updateConfiguration", "updateKubernetesSupportedVersion"}


class JobLost(MoldError):
    """The server does not know the job any more."""


class MoldClient(Transport):
    """One management server, as everything above sees it.

    ``patience`` is how many seconds a call is tried again while the server cannot be reached.
    """

    def __init__(
        self,
        server: MoldServer,
        *,
        clock: Clock = SYSTEM_CLOCK,
        patience: float = 150.0,
        read_method: str = "post",
        max_answer: int = MAX_ANSWER,
    ) -> None:
        super().__init__(server, clock=clock, read_method=read_method, max_answer=max_answer)
        self.patience = patience
        self.tell: Callable[[str], None] = lambda _text: None  # people, that they have to wait

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.server.name} {self.endpoint}>"

    def close(self) -> None:
        """End the session, if there was a login, and the connections."""
        if self.session_key is not None:
            try:
                self.try_once("logout", {}, self.usual)
            except (RequestLost, MoldError) as error:
                log.info("%s: logout: %s", self.server.name, error)
            self.session_key = None
        self.session.close()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Let all calls in the block together take no longer; who is later is unreachable."""
        self.deadline = self.clock.monotonic() + seconds
        try:
            yield
        finally:
            self.deadline = None

    def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Call one command and return what its answer holds.

        Reads, and changes that may safely be made twice, are tried again until ``patience`` is
        over. Other changes are tried again only when the server cannot have seen them.

        Raises:
            MoldRefused: the server answered an error; AccessRefused tells the causes of 401 apart.
            MoldUnreachable: no usable answer in time.
            OutcomeUnknown: the answer to a change was lost.
            StrangeAnswer: the answer is not one of this API.
        """
        repeatable = command.startswith(READS) or command in _REPEATABLE
        deadline = math.inf if self.deadline is None else self.deadline
        until = min(self.clock.monotonic() + self.patience, deadline)
        delay, told = 0.5, False
        while True:
            try:
                return self._answer(command, params)
            except RequestLost as lost:
                if lost.maybe_done and not repeatable:
                    raise OutcomeUnknown(
                        f"{self.server.name}: {command}: the answer was lost: {lost}",
                        hint="run the same command again: it first looks whether this was done",
                    ) from lost
                wait = max(delay, lost.wait or 0.0)  # a server may ask to wait for nothing
                if self.clock.monotonic() + wait > until:
                    raise MoldUnreachable(
                        f"{self.server.name}: {command}: {lost}",
                        hint=lost.hint
                        or f"is {self.endpoint} right, and is the management server running?",
                    ) from lost
                log.info("%s: %s: %s; again in %.1f s", self.server.name, command, lost, wait)
                if not told and delay > 1.0:
                    left = until - self.clock.monotonic()
                    self.tell(f"{self.server.name}: {lost}; tried again for {left:.0f} s")
                    told = True
                self.clock.sleep(wait)
                delay = min(delay * 2, 10.0)

    def list_all(self, command: str, key: str, **params: Any) -> list[dict[str, Any]]:
        """Return every item of a list, over as many pages as it takes."""
        return [item for page in self.pages(command, key, **params) for item in page]

    def pages(self, command: str, key: str, **params: Any) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list, each item once.

        ``count`` is not believed: it may count more than is listed (contract D.3).
        """
        size = _PAGE_SIZE
        page = 1
        previous: set[str] = set()
        listed = 0  # characters
        while page <= _MAX_PAGES:
            try:
                answer = self.call(command, page=page, pagesize=size, **params)
            except MoldRefused as refused:
                if page == 1 and size > 20 and refused.says(r"page ?size"):
                    size = 100 if size > 100 else 20  # default.page.size was lowered there
                    continue
                raise
            found = answer.get(key, [])
            if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
                raise StrangeAnswer(
                    f"{self.server.name}: {command}: {key} is not a list of objects",
                    hint="is this a Mold or CloudStack server?",
                )
            texts = [json.dumps(item, sort_keys=True) for item in found]
            listed += sum(map(len, texts))
            if listed > _MAX_LISTED:
                raise StrangeAnswer(
                    f"{self.server.name}: {command}: more than {_MAX_LISTED} characters of {key}"
                )
            if previous and previous == set(texts):
                return  # a server that does not know pages gives the same one for ever
            # What is made or deleted meanwhile moves the rest: an item may come on two pages.
            yield [item for item, text in zip(found, texts, strict=True) if text not in previous]
            if len(found) < size:
                return
            previous = set(texts)
            page += 1
        raise StrangeAnswer(f"{self.server.name}: {command}: more than {_MAX_PAGES} pages")

    def wait_job(self, job: str, command: str, *, timeout: float) -> Any:
        """Wait for an asynchronous command and return its result.

        Raises:
            MoldRefused: the job failed; carries its text.
            JobLost: the server no longer knows the job; whether it was done must be looked up.
            MoldUnreachable: still running after ``timeout`` seconds.
        """
        # Most jobs are quick; those that are not are asked for less and less often.
        poll = Poll.lasting(self.clock, timeout, every=0.25, slowest=5.0)
        while True:
            try:
                answer = self.call("queryAsyncJobResult", jobid=job)
            except MoldRefused as refused:
                if refused.says(r"does not exist", r"unable to find", r"invalid parameter"):
                    fact = f"the server no longer knows job {job}"
                    raise self._lost(command, fact) from refused
                raise
            status = answer.get("jobstatus")
            result = answer.get("jobresult")
            if status == 1:
                return result
            if status == 2:
                if not result:  # of jobs that a start of the server ends, it reads no text
                    raise self._lost(command, f"job {job} ended without a result")
                code, text = error_fields(result)
                if code is None:
                    found = answer.get("jobresultcode")
                    code = found if isinstance(found, int) else 530
                raise MoldRefused(command, code, text or str(result or ""), server=self.server.name)
            if status != 0:
                raise StrangeAnswer(
                    f"{self.server.name}: {command}: job {job} has the status {status!r}, "
                    "expected 0, 1 or 2"
                )
            if not poll.again():
                raise MoldUnreachable(
                    f"{self.server.name}: {command}: job {job} still runs after {timeout:.0f} s",
                    hint="it goes on there; run the same command again to look",
                )

    def _lost(self, command: str, fact: str) -> JobLost:
        return JobLost(
            f"{self.server.name}: {command}: {fact}",
            hint="it was restarted or replaced; run the same command again",
        )

    def call_job(self, command: str, *, timeout: float = 600.0, **params: Any) -> Any:
        """Call an asynchronous command, wait for its job and return the result."""
        answer = self.call(command, **params)
        job = answer.get("jobid")
        if not isinstance(job, str):
            raise StrangeAnswer(f"{self.server.name}: {command}: the answer names no job")
        return self.wait_job(job, command, timeout=timeout)

    def login(self) -> None:
        """Open a session with name and password.

        Raises:
            AccessRefused: wrong name or password, or a second factor is asked for.
        """
        login = self.server.credentials
        if not isinstance(login, Login):
            raise TypeError("login() is for a name and a password")
        self.session_key = None
        answer = self.call(
            "login", username=login.username, password=login.password, domain=login.domain
        )
        key = answer.get("sessionkey")
        if not isinstance(key, str):
            raise StrangeAnswer(f"{self.server.name}: login: the answer has no session key")
        self.session_key = key

    def _answer(self, command: str, params: Mapping[str, Any]) -> dict[str, Any]:
        session = isinstance(self.server.credentials, Login)
        if session and self.session_key is None and command != "login":
            self.login()
        try:
            return self.try_once(command, params, self.usual)
        except MoldRefused as refused:
            if refused.code == 401 and self.session_key is not None:
                self.login()  # the session ran out; a second refusal is final
                return self.try_once(command, params, self.usual)
            raise explain_refusal(self, refused) from refused


def parse_time(text: str | None) -> datetime | None:
    """Return a time as Mold writes it (``2026-10-08T10:00:00+0900``), None if it is not one."""
    return moment_of(text) if text else None
