"""A note on disk about a setting changed for a while, so that it is put back whatever happens.

The note is on disk before the setting changes and goes away after it was put back. A run that was
killed leaves its note; the next run that talks to the same server finds it and finishes the work.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import filelock
import platformdirs
from pydantic import Field, ValidationError

from isobuilder.errors import EnvironmentProblem, IsobuilderError, MoldError
from isobuilder.model.base import Model, canonical_json
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.errors import MoldRefused

log = logging.getLogger(__name__)

FOLLOW_REDIRECTS = "store.download.follow.redirects"


def default_folder() -> Path:
    """Return where this user's notes are."""
    return platformdirs.user_state_path("isobuilder") / "mold"


class Holder(Model):
    """A process that needs the setting as it is."""

    host: str
    pid: int
    started: int  # in the kernel's ticks, so that a reused number is not taken for it
    token: str = ""  # tells two uses in one process apart


class Note(Model):
    """What was changed where."""

    format: Annotated[Literal[1], Field(alias="schema")]
    endpoint: str
    server: str
    setting: str
    old: str
    new: str
    holders: tuple[Holder, ...]


class UploadNote(Model):
    """An upload that was begun: Mold keeps an entry for it that nobody else can finish."""

    format: Annotated[Literal[1], Field(alias="schema")]
    endpoint: str
    iso_id: str
    name: str
    holder: Holder


class SettingNotRestored(MoldError):
    """The setting could not be put back now; the note stays."""


def _started(pid: int) -> int | None:
    """Return when a process of this machine began; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rsplit(")", 1)[-1].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _ourselves() -> Holder:
    pid = os.getpid()
    return Holder(
        host=socket.gethostname(),
        pid=pid,
        started=_started(pid) or 0,
        token=secrets.token_hex(8),
    )


def _alive(holder: Holder) -> bool:
    # Of another machine (a shared home directory) nothing is known: it is left to finish.
    return holder.host != socket.gethostname() or _started(holder.pid) == holder.started


@dataclass(frozen=True, slots=True)
class Journal:
    """The notes of one user, in one folder."""

    folder: Path

    def pending(self, endpoint: str | None = None) -> tuple[Note, ...]:
        """Return notes whose writers are gone, of one server or of all."""
        return tuple(
            note
            for path in sorted(self.folder.glob("setting-*.json"))
            if (note := self._load(path)) is not None
            and endpoint in {None, note.endpoint}
            and not any(_alive(holder) for holder in note.holders)
        )

    def finish_pending(self, mold: Mold) -> list[str]:
        """Put back what killed runs left changed on this server; returns what was done.

        Raises:
            SettingNotRestored: the server refused or could not be reached.
        """
        if not self.folder.is_dir():
            return []
        done = [self._drop_upload(mold, *found) for found in self._uploads(mold.client.endpoint)]
        for note in self.pending(mold.client.endpoint):
            with self._locked():
                path = self._path(note.endpoint, note.setting)
                again = self._load(path)
                if again is None or any(_alive(holder) for holder in again.holders):
                    continue
                self._put_back(mold, again, path)
            done.append(f"{mold.name}: {note.setting} is {note.old!r} again, as before a run broke")
        return done

    def pending_uploads(self, endpoint: str) -> tuple[UploadNote, ...]:
        """Return the uploads to a server whose senders are gone."""
        return tuple(note for _path, note in self._uploads(endpoint))

    def _uploads(self, endpoint: str) -> list[tuple[Path, UploadNote]]:
        found = [
            (path, UploadNote.model_validate_json(path.read_bytes()))
            for path in sorted(self.folder.glob("upload-*.json"))
        ]
        return [
            (path, note)
            for path, note in found
            if note.endpoint == endpoint and not _alive(note.holder)
        ]

    def _drop_upload(self, mold: Mold, path: Path, note: UploadNote) -> str:
        for version in mold.versions():
            if version.isoid == note.iso_id and not any(r.isready for r in mold.isos(note.iso_id)):
                mold.delete_version(version.id)
        path.unlink(missing_ok=True)
        return f"{mold.name}: deleted {note.name}, whose upload broke off"

    @contextmanager
    def uploading(self, mold: Mold, iso_id: str, name: str) -> Iterator[None]:
        """Keep a note while an ISO is sent; it stays if this run is killed or interrupted."""
        path = self.folder / f"upload-{re.sub(r'[^A-Za-z0-9-]', '_', iso_id)}.json"
        note = UploadNote.model_validate(
            {
                "schema": 1,
                "endpoint": mold.client.endpoint,
                "iso_id": iso_id,
                "name": name,
                "holder": _ourselves(),
            }
        )
        with self._locked():
            self._save(path, note)
        try:
            yield
        except IsobuilderError:
            path.unlink(missing_ok=True)  # whoever raised it has cleaned up
            raise
        path.unlink(missing_ok=True)

    @contextmanager
    def changed(self, mold: Mold, setting: str, value: str) -> Iterator[bool]:
        """Have ``setting`` at ``value`` inside the ``with``; True if that took a change.

        Several runs on one machine may need it at once: the last one puts it back.

        Raises:
            MoldRefused: the server has no such setting, or this key may not change it.
            SettingNotRestored: it could not be put back; the next run will.
        """
        path = self._path(mold.client.endpoint, setting)
        us = _ourselves()
        try:
            yield self._begin(mold, setting, value, path, us)
        finally:
            self._end(mold, path, us)

    def _begin(self, mold: Mold, setting: str, value: str, path: Path, us: Holder) -> bool:
        with self._locked():
            current = mold.setting(setting)
            if current is None:
                raise MoldError(
                    f"{mold.name}: this server has no setting {setting}",
                    hint="give a URL that answers without a redirect",
                )
            note = self._load(path)
            if note is None and current.effective == value:
                return False
            old = note.old if note else current.effective
            others = tuple(h for h in note.holders if _alive(h)) if note else ()
            self._save(
                path,
                Note.model_validate(
                    {
                        "schema": 1,
                        "endpoint": mold.client.endpoint,
                        "server": mold.name,
                        "setting": setting,
                        "old": old,
                        "new": value,
                        "holders": (*others, us),
                    }
                ),
            )
            if current.effective != value:
                try:
                    mold.set_setting(setting, value)
                except MoldRefused:
                    if not others:
                        path.unlink()
                    raise
            return True

    def _end(self, mold: Mold, path: Path, us: Holder) -> None:
        with self._locked():
            note = self._load(path)
            if note is None or us not in note.holders:
                return
            others = tuple(h for h in note.holders if h != us and _alive(h))
            if others:
                self._save(path, note.model_copy(update={"holders": others}))
                return
            # Should putting back fail, the note must not look as if somebody still needed it.
            self._save(path, note.model_copy(update={"holders": ()}))
            self._put_back(mold, note, path)

    def _put_back(self, mold: Mold, note: Note, path: Path) -> None:
        try:
            current = mold.setting(note.setting)
            # Somebody who set a third value meanwhile knew what they did.
            if current is not None and current.effective == note.new != note.old:
                mold.set_setting(note.setting, note.old)
                current = mold.setting(note.setting)
                if current is None or current.effective != note.old:
                    raise MoldError(f"{mold.name}: {note.setting} did not take {note.old!r}")
        except IsobuilderError as error:
            raise SettingNotRestored(
                f"{mold.name}: {note.setting} is still {note.new!r}, it was {note.old!r}: {error}",
                hint="the next isobuilder mold register on this server puts it back; or now: "
                f"isobuilder mold setting {note.setting} {note.old or repr('')} "
                f"--server {mold.name}",
            ) from error
        path.unlink(missing_ok=True)
        log.info("%s: %s put back to %r", mold.name, note.setting, note.old)

    def _path(self, endpoint: str, setting: str) -> Path:
        mark = hashlib.sha256(endpoint.encode()).hexdigest()[:12]
        return self.folder / f"setting-{mark}-{re.sub(r'[^a-z0-9.]', '_', setting.lower())}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = filelock.FileLock(self.folder / "journal.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.acquire(timeout=600)
        except filelock.Timeout as error:
            raise EnvironmentProblem(
                f"{self.folder}/journal.lock: another run has held it for 600 s"
            ) from error
        except OSError as error:
            raise EnvironmentProblem(
                f"{self.folder}: cannot keep notes there: {error.strerror}",
                hint="XDG_STATE_HOME names another place",
            ) from error
        try:
            yield
        finally:
            lock.release()

    @staticmethod
    def _load(path: Path) -> Note | None:
        try:
            return Note.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise EnvironmentProblem(
                f"{path}: damaged note about a changed setting",
                hint=f"look at {FOLLOW_REDIRECTS} on the server, then delete the file",
            ) from error

    def _save(self, path: Path, note: Model) -> None:
        data = canonical_json(note.model_dump(mode="json", by_alias=True))
        beside = path.with_suffix(f".{os.getpid()}.new")
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
