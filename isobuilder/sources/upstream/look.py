"""Look at upstream once: every source at the same time, none needed for the others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from isobuilder.cancel import pooled
from isobuilder.digest import Digest
from isobuilder.documents.json import ANSWER
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import IsobuilderError, UpstreamError
from isobuilder.files import read_bytes, write_whole
from isobuilder.formats.version import ReleaseVersion
from isobuilder.http.failure import HttpFailure, http_date
from isobuilder.model.base import LAST_EPOCH
from isobuilder.model.config import mirror_urls
from isobuilder.rules.fit import PROJECTS
from isobuilder.sources.mirrors import combined
from isobuilder.sources.session import Session
from isobuilder.sources.upstream import answers, cves, own
from isobuilder.sources.upstream.schedule import URL as SCHEDULE
from isobuilder.sources.upstream.schedule import Schedule, read_schedule
from isobuilder.sources.upstream.sight import Release, Sight, Trouble
from isobuilder.text import printable, whole_number

log = logging.getLogger(__name__)

_MARKERS = "https://dl.k8s.io/release"
GITHUB = "https://api.github.com"
INDEX = "https://proxy.golang.org"

_PROJECTS: Mapping[str, str] = {
    **{component: project for project, component in PROJECTS.items()},
    "calico": "projectcalico/calico",
}
_MODULES: Mapping[str, tuple[str, ...]] = {  # as Go names them; where GitHub's limits are spent
    "containerd": ("github.com/containerd/containerd/v2", "github.com/containerd/containerd"),
    "runc": ("github.com/opencontainers/runc",),
    "cni-plugins": ("github.com/containernetworking/plugins",),
    "crictl": ("sigs.k8s.io/cri-tools",),
    "etcd": ("go.etcd.io/etcd/server/v3",),
    "calico": ("github.com/projectcalico/calico",),
}
_COMPONENTS = tuple(_PROJECTS)  # what is looked for beside Kubernetes

_MINORS_BACK = 4  # four minors are supported at once when a new one comes early
_AT_ONCE = 8

T = TypeVar("T")


@dataclass(slots=True)
class _Look:
    session: Session
    day: date
    token: str | None
    memory: Path
    troubles: list[Trouble] = field(default_factory=list)
    clock_off: timedelta | None = None

    def see(
        self,
        minors: Iterable[str],
        components: Sequence[str],
        added: Mapping[str, Collection[str]],
    ) -> Sight:
        with pooled(_AT_ONCE, "look", end=self.session.http.close) as pool:
            stable = pool.submit(self._attempt, "stable.txt", self._stable)
            index = pool.submit(self._attempt, "Go module index", self._index)
            schedule = pool.submit(self._attempt, "schedule.yaml", self._schedule)
            feed = pool.submit(self._attempt, "CVE feed", self._cves)
            releases = {
                name: pool.submit(self._attempt, name, partial(self._releases, name))
                for name in components
            }
            known = index.result() or ()
            newest = stable.result() or next((one.version for one in known), None)
            wanted = sorted({*minors, *_minors_back(newest)}, key=_order)
            by_minor = {
                minor: pool.submit(
                    self._attempt, f"stable-{minor}.txt", lambda minor=minor: self._minor(minor)
                )
                for minor in wanted
            }
            ours = {
                name: pool.submit(self._attempt, name, partial(self._own, name, wanted, known_tags))
                for name, known_tags in added.items()
            }
            dated = pool.map(self._dated, _newest_of_each(known, wanted))
            markers = {minor: version for minor in wanted if (version := by_minor[minor].result())}
            if (version := stable.result()) is not None:
                markers[""] = version
            days = {one.version: one for one in dated}
            return Sight(
                day=self.day,
                markers=markers,
                index=tuple(days.get(one.version, one) for one in known),
                components={name: seen for name, job in releases.items() if (seen := job.result())},
                schedule=schedule.result(),
                cves=feed.result() or (),
                own={
                    name: tags for name, job in ours.items() if (tags := job.result()) is not None
                },
                troubles=tuple(sorted(self.troubles, key=lambda one: one.source)),
                clock_off=self.clock_off,
            )

    def _attempt(self, source: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except IsobuilderError as error:
            log.info("%s: %s", source, error)
            self.troubles.append(Trouble(source, printable(str(error))))
            return None

    def _stable(self) -> ReleaseVersion:
        url = f"{_MARKERS}/stable.txt"
        return answers.marker(self._ask(url, answers.MARKER_SIZE), url)

    def _minor(self, minor: str) -> ReleaseVersion | None:
        """Return what the marker of a minor names; None where upstream has no such marker."""
        url = f"{_MARKERS}/stable-{minor}.txt"
        try:
            data = self._ask(url, answers.MARKER_SIZE)
        except HttpFailure as failure:
            if failure.status == 404:
                return None
            raise
        return answers.marker(data, url, minor=minor)

    def _index(self) -> tuple[Release, ...]:
        return self._module("k8s.io/kubernetes")

    def _module(self, module: str) -> tuple[Release, ...]:
        url = f"{INDEX}/{module}/@v/list"
        return answers.module_versions(self._ask(url, answers.INDEX_SIZE), url)

    def _dated(self, release: Release) -> Release:
        url = f"{INDEX}/k8s.io/kubernetes/@v/v{release.version}.info"
        day = self._attempt(
            f"Go module index, {release.version}",
            lambda: answers.module_day(self._ask(url, answers.INDEX_SIZE), url),
        )
        return Release(release.version, day)

    def _schedule(self) -> Schedule:
        try:
            return read_schedule(self._ask(SCHEDULE, answers.INDEX_SIZE), SCHEDULE)
        except InputErrors as error:
            raise UpstreamError(f"{SCHEDULE}: {error}") from None

    def _cves(self) -> tuple[cves.Cve, ...]:
        return cves.read_cves(self._ask(cves.URL, cves.SIZE), cves.URL)

    def _own(
        self, component: str, minors: Sequence[str], known: Collection[str]
    ) -> tuple[own.OwnRelease, ...]:
        """Return the releases of a component of Mold's, those that may be taken with commits.

        What was built is asked of those that are not ``known``.
        """
        project = f"{GITHUB}/repos/{own.PROJECTS[component]}"
        url = f"{project}/releases?per_page=100"
        seen = own.own_releases(self._ask(url, ANSWER.size), url)
        newest = {one.minor: one for one in reversed(seen) if one.minor in {None, *minors}}
        found = []
        for one in seen:
            if one not in newest.values():
                found.append(one)
                continue
            source = f"{component} {one.tag}"
            commit = one.commit
            if commit is None:
                commit = self._attempt(source, partial(self._commit, project, one.tag))
            taken = one.at(commit or "")
            if taken.commit is not None and taken.tag not in known:
                facts = self._attempt(source, partial(self._built_from, component, taken))
                taken = replace(taken, facts=facts or {})
            found.append(taken)
        return tuple(found)

    def _commit(self, project: str, tag: str) -> str:
        url = f"{project}/commits/{tag}"
        return own.commit_of(self._ask(url, ANSWER.size), url)

    def _built_from(self, component: str, release: own.OwnRelease) -> Mapping[str, str]:
        url = own.file_of(component, release)
        data = self._ask(url, ANSWER.size)
        if component == "autoscaler":
            return own.baseline_of(data, url, release)
        module, version, project = own.sdk_of(data, url)
        commit = self._commit(f"{GITHUB}/repos/{project}", version)
        return {"provider_sdk": f"{module} {version}", "provider_sdk_sha": commit}

    def _releases(self, component: str) -> tuple[Release, ...]:
        """Return a component's releases from GitHub, or without digests and days from the index."""
        url = f"{GITHUB}/repos/{_PROJECTS[component]}/releases?per_page=100"
        try:
            return answers.github_releases(self._ask(url, ANSWER.size), url)
        except UpstreamError as error:
            self.troubles.append(Trouble(component, printable(_limit_spent(error) or str(error))))
        found = {one.version: one for module in _MODULES[component] for one in self._module(module)}
        return tuple(found[version] for version in sorted(found, reverse=True))

    def _ask(self, url: str, limit: int) -> bytes:
        """Return an answer; one that has not changed since last time is not sent again."""
        errors: list[UpstreamError] = []
        for at in mirror_urls(self.session.config, url):
            try:
                return self._ask_at(at, limit, canonical=at == url)
            except UpstreamError as error:
                errors.append(error)
        if len({getattr(error, "status", None) for error in errors}) == 1:
            raise errors[0]  # whose status says more than all of them in one sentence
        raise combined(url, errors)

    def _ask_at(self, url: str, limit: int, *, canonical: bool) -> bytes:
        note = self.memory / hashlib.sha256(url.encode()).hexdigest()
        etag, body = _remembered(note, limit)
        # A token is for GitHub itself, whatever stands for it elsewhere.
        own = canonical and url.startswith(f"{GITHUB}/") and self.token
        answer = self.session.http.get_small(
            url,
            limit=limit,
            headers={"If-None-Match": etag} if etag else None,
            auth=f"Bearer {self.token}" if own else None,
            accept=(200, 304),
        )
        if url.endswith("/stable.txt") and (told := http_date(answer.headers.get("Date"))):
            self.clock_off = datetime.now(UTC) - told
        if answer.status == 304:
            return body
        etag = answer.headers.get("ETag", "")
        if etag and etag.isascii() and etag.isprintable():
            digest = Digest.of(answer.body)
            write_whole(note, f"{digest} {etag}\n".encode() + answer.body)
        return answer.body


def look(
    session: Session,
    day: date,
    *,
    minors: Iterable[str] = (),
    components: Sequence[str] = _COMPONENTS,
    added: Mapping[str, Collection[str]] = MappingProxyType({}),
    token: str | None = None,
) -> Sight:
    """Return what upstream has on ``day``, today: of ``minors``, the newest ones, and components.

    ``added`` are components of Mold's whose releases are looked up as well, such as its autoscaler,
    with the tags of those that are known.

    What cannot be reached or makes no sense is among the troubles of the answer. ``token`` is
    GitHub's, which allows more than 60 questions an hour; it goes to GitHub alone.
    """
    memory = session.store.root / "upstream"
    memory.mkdir(parents=True, exist_ok=True)
    return _Look(session, day, token, memory).see(minors, components, added)


def _remembered(note: Path, limit: int) -> tuple[str, bytes]:
    """Return the ETag and the body of an answer; nothing where they are not what was noted."""
    try:
        head, _, body = read_bytes(note, limit + 1024).partition(b"\n")
        digest, _, etag = head.decode("ascii").partition(" ")
    except (IsobuilderError, UnicodeDecodeError):
        return "", b""
    return (etag, body) if digest == str(Digest.of(body)) else ("", b"")


def _minors_back(newest: ReleaseVersion | None) -> Iterable[str]:
    if newest is None:
        return ()
    major, minor = newest.line
    return [f"{major}.{minor - back}" for back in range(_MINORS_BACK) if minor >= back]


def _newest_of_each(known: Sequence[Release], minors: Sequence[str]) -> list[Release]:
    first = {one.version.line_text: one for one in reversed(known)}
    return [first[minor] for minor in minors if minor in first]


def _order(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


def _limit_spent(error: UpstreamError) -> str | None:
    """Return how GitHub's limit, or a token it does not know, is told.

    Source: its pages on rate limits and on troubleshooting the REST API.
    """
    if not isinstance(error, HttpFailure):
        return None
    if error.status == 401:
        return "GitHub does not know this GITHUB_TOKEN: it has ended, or was taken back"
    if error.status not in {403, 429}:
        return None
    if error.headers.get("X-RateLimit-Remaining") != "0" and error.retry_after is None:
        return None
    reset = whole_number(error.headers.get("X-RateLimit-Reset", "")) or LAST_EPOCH
    until = "in an hour"
    if reset < LAST_EPOCH:
        until = f"after {datetime.fromtimestamp(reset, UTC):%H:%M} UTC"
    return f"GitHub's limit of questions is spent; set GITHUB_TOKEN, or look again {until}"
