"""The ISOs that were built: what servers are compared with and registrations are read from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from isobuilder.digest import BUFFER_SIZE
from isobuilder.documents.json import DOCUMENT, parse
from isobuilder.errors import InputError
from isobuilder.files import is_file, read_bytes
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold.jsonfile import unexpected
from isobuilder.rules.fit import Unfit

SUFFIX = ".registration.json"
_KINDS = ("md5", "sha1", "sha256", "sha512")


@dataclass(frozen=True, slots=True)
class Item:
    """One ISO that servers should have, and where they can fetch it, if that is known."""

    registration: RegistrationFile
    url: str | None
    called: str | None = None  # another name than the registration's
    iso: Path | None = None  # the ISO itself, if it is at hand
    lock: Path | None = None  # of what it was built from, if that lies beside its side file
    unfit: tuple[Unfit, ...] = ()  # why what is on it does not fit together
    place: Path | None = None  # the file in which its registration was read

    @property
    def name(self) -> str:
        """The name of the version."""
        return self.called or self.registration.name

    def digits(self, algorithm: str) -> str | None:
        """Return the ISO's hash of that kind, None if it is not known and the ISO not at hand.

        Raises:
            InputError: the ISO cannot be read, or is not what the registration says.
        """
        if algorithm == "sha256":
            return self.registration.checksum.hex
        if self.iso is None:
            return None
        found = _hashes_of(self.iso)
        if found["sha256"] != self.registration.checksum.hex:
            raise InputError(
                f"{self.iso}: SHA-256 {found['sha256']}, its registration says "
                f"{self.registration.checksum.hex}",
                hint="isobuilder verify looks closer; build or copy it again",
            )
        return found[algorithm]


@cache
def _hashes_of(iso: Path) -> Mapping[str, str]:
    """Return every kind of hash a server may keep of an ISO, from one reading.

    Raises:
        InputError: it cannot be read.
    """
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in _KINDS}
    try:
        with iso.open("rb") as file:
            while chunk := file.read(BUFFER_SIZE):
                for one in hashes.values():
                    one.update(chunk)
    except OSError as error:
        raise InputError(f"{iso}: cannot be read: {error.strerror}") from error
    return {name: one.hexdigest() for name, one in hashes.items()}


def read_registration(path: Path) -> tuple[RegistrationFile, Path | None]:
    """Return the registration of an ISO or of its side file, and the ISO if it is there.

    Raises:
        InputError: there is no such side file, it holds something else, or the ISO beside it has
            another size.
    """
    if path.name.endswith(SUFFIX):
        registration = _parse(path, _load(path))
        iso = _iso_of(registration, path)
    else:
        side = path.with_name(path.name.removesuffix(".iso") + SUFFIX)
        if not is_file(path):
            raise InputError(f"{path}: no such file")
        if not is_file(side):
            raise InputError(
                f"{path}: its side file {side.name} is missing",
                hint="isobuilder build writes it beside the ISO; keep them together",
            )
        registration = _parse(side, _load(side))
        iso = path
    if not is_file(iso):
        return registration, None
    size = iso.stat().st_size
    if registration.size and size != registration.size:
        raise InputError(
            f"{iso}: {size} bytes, its registration says {registration.size}",
            hint="isobuilder verify looks closer; build or copy it again",
        )
    return registration, iso


def _iso_of(registration: RegistrationFile, side: Path) -> Path:
    """Return where the ISO of a side file is, which may have got another name together with it."""
    iso = side.with_name(registration.filename)
    renamed = side.with_name(f"{side.name.removesuffix(SUFFIX)}.iso")
    return renamed if not is_file(iso) and side.name.endswith(SUFFIX) else iso


def lock_beside(registration: RegistrationFile, path: Path) -> Path | None:
    """Return the lock that lies beside an ISO, or its side file, at ``path``; None without one."""
    names = (registration.filename, path.name.removesuffix(SUFFIX))
    locks = [path.with_name(f"{name.removesuffix('.iso')}.lock.json") for name in names]
    return next(filter(is_file, locks), None)


def read_catalogue(path: Path, *, url_base: str | None = None) -> tuple[Item, ...]:
    """Return the ISOs of a folder, of a JSON list, or of one side file.

    ``url_base`` is where the files of the catalogue can be fetched, when they do not say.

    Raises:
        InputError: nothing there, or a file that holds something else.
    """
    if path.is_dir():
        found = [(side, _load(side)) for side in sorted(path.rglob(f"*{SUFFIX}"))]
    else:
        data = _load(path)
        listed = data.get("isos") if isinstance(data, dict) and "isos" in data else data
        found = [(path, item) for item in (listed if isinstance(listed, list) else [listed])]
    if not found:
        raise InputError(
            f"{path}: no {SUFFIX} file in this folder", hint="give the folder of finished ISOs"
        )
    items = []
    seen: dict[str, Path] = {}
    for place, value in found:
        registration = _parse(place, value)
        if registration.name in seen and place != seen[registration.name]:
            raise InputError(
                f"{place}: the name {registration.name} is that of {seen[registration.name]}"
            )
        seen[registration.name] = place
        url = registration.download_url
        if url is None and url_base:
            url = f"{url_base.rstrip('/')}/{registration.filename}"
        iso = _iso_of(registration, place)
        items.append(
            Item(
                registration,
                url,
                iso=iso if is_file(iso) else None,
                lock=lock_beside(registration, place),
                place=place,
            )
        )
    return tuple(items)


def _load(path: Path) -> object:
    return parse(read_bytes(path, DOCUMENT.size), str(path), DOCUMENT)


def _as_ours(data: object) -> object:
    """Return the registration.json of the ABLESTACK builder in our form; anything else as it is.

    It has no ``schema`` and no size, and says profile and revision only in the file's name:
    ``kubernetes-v1.34.12-mold-cks-amd64-r1-0123abcd.iso``.
    """
    if not isinstance(data, dict) or "schema" in data or "minimum_resources_basis" not in data:
        return data
    name = str(data.get("filename", ""))
    architectures = "|".join(ARCHITECTURES)
    found = re.match(rf"kubernetes-v[0-9.]+-(.+)-(?:{architectures})-r([0-9]{{1,9}})", name)
    profile, revision = (found[1], int(found[2])) if found else ("unknown", 1)
    known = set(RegistrationFile.model_fields) - {"format"}
    return {key: value for key, value in data.items() if key in known} | {
        "schema": 1,
        "size": 0,  # not known
        "product_version": f"{data.get('kubernetesversion')}+{profile}.r{revision}",
        "profile": profile,
        "revision": revision,
    }


def _parse(path: Path, data: object) -> RegistrationFile:
    try:
        return RegistrationFile.model_validate(_as_ours(data))
    except ValidationError as error:
        raise unexpected(
            path,
            error,
            hint="expected the registration.json that isobuilder build writes beside an ISO",
        ) from error
