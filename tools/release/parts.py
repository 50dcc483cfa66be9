"""The libraries that isobuilder needs at run time, as the lock has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.make_venv import Locked, read_lock

EXTRAS = (
    "s3",
    "trust",
    "fast",
)  # those that the lock has: what a machine without Internet may want


def runtime(python: str) -> list[Locked]:
    """Return what has to be installed beside isobuilder on Python ``python``, such as 3.13."""
    where = {"python_version": python, "python_full_version": f"{python}.0"}
    locked: dict[str, Locked] = {
        canonicalize_name(item.name): item
        for item in read_lock()
        if not item.marker or Marker(item.marker).evaluate(where)
    }
    wanted: set[str] = set()
    waiting = list(_wanted_by("isobuilder", EXTRAS, where))
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name not in wanted:
            wanted.add(name)
            waiting += _wanted_by(one.name, one.extras, where)
    return [locked[name] for name in sorted(wanted)]


def _wanted_by(name: str, extras: Iterable[str], where: dict[str, str]) -> Iterator[Requirement]:
    """Give what a library asks for, as its metadata here says."""
    try:
        lines = requires(name) or ()
    except PackageNotFoundError:  # for another Python only, and of those none asks for more
        return
    for line in lines:
        wanted = Requirement(line)
        chosen = ({**where, "extra": extra} for extra in ("", *extras))
        if wanted.marker is None or any(wanted.marker.evaluate(one) for one in chosen):
            yield wanted


def licence_of(name: str) -> str | None:
    """Return the SPDX expression that an installed library names."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return None
    return next(iter(told.get_all("License-Expression") or ()), None)
