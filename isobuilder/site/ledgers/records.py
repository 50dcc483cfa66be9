"""What is remembered of ledgers: at the site the last one made, outside the last one read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from platformdirs import user_data_path
from pydantic import Field

from isobuilder.digest import Digest
from isobuilder.documents.json import NOTE
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import as_environment_problem, is_file, locked, read_bytes, write_whole
from isobuilder.model.base import FileModel
from isobuilder.model.validation import NewerFormat, model_of
from isobuilder.site.ledgers.ledger import Kind, Ledger, read_text, site_mark, to_text

_SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a site can be called: its name is part of a file's."""

_ANEW = "site ledger --read --forget begins anew with this one"

Handed = tuple[Digest, ...]


class SiteRecord(FileModel):
    """One site as we know it; ledgers as texts."""

    left_out: ClassVar[tuple[str, ...]] = ("handed_otherwise",)

    format: Annotated[Literal[1], Field(alias="schema")]
    site: str
    ledger: str
    handed: Handed = ()  # what was handed over and no ledger has shown yet
    handed_otherwise: Handed = ()  # the same of ledgers of the other kind
    signed_by: Digest | None = None  # fingerprint of the key that the last one was proved with


def default_records() -> Path:
    """Return where this user's records are."""
    return user_data_path("isobuilder") / "sites"


@contextmanager
def one_at_a_time(folder: Path, site: str) -> Iterator[None]:
    """Let nobody else make or read a ledger of ``site``: two of one number are two histories.

    Raises:
        InputError: no site has such a name.
        EnvironmentProblem: the folder cannot be written.
    """
    path = _path(folder, site)
    with ExitStack() as stack:
        with as_environment_problem(folder):  # and not what is done meanwhile
            stack.enter_context(locked(path.with_name(f".{path.name}.lock")))
        yield


def read_record(folder: Path, site: str) -> SiteRecord | None:
    """Return what is known of a site; None if that is nothing.

    Raises:
        InputError: no site has such a name, or the record is damaged.
    """
    path = _path(folder, site)
    if not is_file(path):
        return None
    data = read_bytes(path, NOTE.size)
    hint = "bring back the file; site ledger --read --forget writes it anew"
    try:
        record = model_of(data, str(path), SiteRecord)
        read_text(record.ledger, str(path))
    except NewerFormat:
        raise
    except InputError as error:
        raise InputError(*error.lines, hint=hint) from error
    if record.site != site:
        raise InputError(f"{path}: is of the site {record.site!r}, expected {site!r}", hint=hint)
    return record


def record_of(folder: Path, ledger: Ledger) -> SiteRecord | None:
    """Return what is known of the site that a ledger is of; None if that is nothing.

    Raises:
        InputError: the record is damaged.
        EnvironmentProblem: the folder cannot be read.
    """
    with as_environment_problem(folder):
        try:
            paths = sorted(folder.iterdir())
        except FileNotFoundError:
            return None
    for path in paths:
        site = path.stem
        if path.suffix == ".json" and site_mark(site) == ledger.site:
            return read_record(folder, site)
    return None


def refuse_replayed(
    folder: Path, ledger: Ledger, *, proved: bool, signed: bool, place: str
) -> Standing | None:
    """Return how a ledger stands to what ``site ledger --read`` remembers; None: that is nothing.

    Raises:
        InputError, EnvironmentProblem: see ``record_of``.
        IntegrityError: it is old, of another history, or has to be signed.
    """
    record = record_of(folder, ledger)
    if record is None:
        return None
    if not proved:
        refuse_unproved(record, record.site, signed=signed, place=place)
    return standing(ledger, record.site, last_ledger(record), place)


def handed_over(record: SiteRecord | None, kind: Kind) -> tuple[Handed, Handed]:
    """Return what was handed over of what ledgers of ``kind`` tell, and of the other kind."""
    last = last_ledger(record)
    if record is None or last is None:
        return (), ()
    if last.kind == kind:
        return record.handed, record.handed_otherwise
    return record.handed_otherwise, record.handed


def write_record(
    folder: Path,
    site: str,
    ledger: Ledger,
    handed: tuple[Collection[Digest], Collection[Digest]] = ((), ()),
    signed_by: Digest | None = None,
) -> None:
    """Remember the newest ledger of a site, what was handed over, and the key that signs.

    ``handed`` as ``handed_over`` returns it, for the kind of ``ledger``.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    same, other = (tuple(sorted(one)) for one in handed)
    facts = {"schema": 1, "site": site, "ledger": to_text(ledger), "handed": same}
    record = SiteRecord.model_validate({**facts, "handed_otherwise": other, "signed_by": signed_by})
    write_whole(_path(folder, site), record.to_bytes())


def last_ledger(record: SiteRecord | None) -> Ledger | None:
    """Return the ledger of a record."""
    return None if record is None else read_text(record.ledger, f"the record of {record.site}")


def refuse_unproved(record: SiteRecord | None, site: str, *, signed: bool, place: str) -> None:
    """Refuse a ledger that nobody proved, of a site whose last one was proved.

    Raises:
        IntegrityError: anybody may have made it.
    """
    if record is None or record.signed_by is None:
        return
    state = "signed, and by whom is not known" if signed else "not signed"
    raise IntegrityError(
        f"{place}: is {state}, and {site} signed the last one with the key {record.signed_by}",
        hint=f"name its key with --signed-by; {_ANEW}",
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """How a ledger that was brought stands to the last one that was read."""

    ledger: Ledger
    news: Literal["first", "same", "next", "later"]
    skipped: int = 0  # ledgers in between that nobody brought

    @property
    def descent_proved(self) -> bool:
        """Whether it is known to descend from the last one: a ledger names only the one before."""
        return self.news in {"same", "next"}

    @property
    def doubt(self) -> str | None:
        """What is to be told of one that may be of another history."""
        if self.news != "later":
            return None
        return (
            f"that ledger {self.ledger.number} is of the same history as ledger "
            f"{self.ledger.number - self.skipped - 1} is not proved: ask the site if its records "
            "were lost, restored or copied, or read those in between first"
        )


def standing(ledger: Ledger, site: str, last: Ledger | None, place: str) -> Standing:
    """Return how ``ledger`` follows ``last``.

    Raises:
        InputError: it is another site's.
        IntegrityError: it is older than one that was read, or of another history.
    """
    if ledger.site != site_mark(site):
        raise InputError(
            f"{place}: is of another site than {site!r}", hint="name the site with --site"
        )
    if last is None:
        return Standing(ledger, "first")
    if ledger == last:
        return Standing(ledger, "same")
    if ledger.number < last.number:
        raise IntegrityError(
            f"{place}: is ledger {ledger.number}, and ledger {last.number} of {site} was read "
            "already: it is stale, or was brought again",
            hint="let the site make a new one; if it did, its records were lost and its numbers "
            f"began again: {_ANEW}",
        )
    if ledger.number == last.number or (
        ledger.number == last.number + 1 and ledger.before != last.mark
    ):
        raise IntegrityError(
            f"{place}: ledger {ledger.number} does not follow ledger {last.number} that was read: "
            f"{site} has two histories, such as after its records were lost, restored or copied",
            hint=f"find out which one is right; {_ANEW}",
        )
    skipped = ledger.number - last.number - 1
    return Standing(ledger, "later" if skipped else "next", skipped)


def _path(folder: Path, site: str) -> Path:
    if not _SITE_NAME.fullmatch(site):
        raise InputError(
            f"{site!r}: no name of a site: expected at most 64 letters, digits, dots, dashes"
        )
    return folder / f"{site}.json"
