"""A bucket of S3, or of whatever speaks it, as a published place.

Who may write there is decided as for every server: ``servers`` in the settings, the access key as
``user`` and the secret in ``password_file``; else the variables that all programs of AWS read.
Sources: Amazon S3 API reference, PutObject (``If-None-Match``, ``If-Match``); obstore 0.12.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from isobuilder.digest import Digest, Hasher
from isobuilder.errors import EnvironmentProblem, IntegrityError, UpstreamError
from isobuilder.files import read_bytes
from isobuilder.http.access import access_to, configured_login
from isobuilder.http.settings import HttpSettings
from isobuilder.model.policy import Bucket
from isobuilder.publish.place import Change
from isobuilder.publish.refusals import LOGIN_HINT, refusal
from isobuilder.text import printable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Store

_SMALL = 4 * 1024 * 1024  # bytes sent by one request, which may be on condition
_PART = 8 * 1024 * 1024  # bytes of a part of what is larger: 10,000 are allowed
_AT_ONCE = 4  # parts
_TRIES = 10  # of a list that others change as well
_RETRIES, _RETRY_SECONDS = 4, 60
_MOST_SAID = 300  # characters of what the library says


class BucketPlace:
    """Objects of a bucket whose names begin alike.

    A small object gets its name on the condition that nobody has it; one that is sent in parts
    after a look. The checksum file of an ISO is small and comes first, so that of two who would
    give one name to different ISOs the second is refused before.
    """

    def __init__(self, bucket: Bucket, settings: HttpSettings) -> None:
        self._name = f"s3://{bucket.name}/{bucket.prefix}".rstrip("/")
        self._prefix = f"{bucket.prefix}/" if bucket.prefix else ""
        self._store = _opened(bucket, settings)

    def __str__(self) -> str:
        return self._name

    def read(self, name: str, most: int) -> bytes | None:
        """See ``PublishedPlace``."""
        found = self._read(name, most)
        return None if found is None else found[0]

    def size_of(self, name: str) -> int | None:
        """See ``PublishedPlace``."""
        import obstore
        from obstore.exceptions import BaseError

        with self._explained(name):
            try:
                return obstore.head(self._store, self._prefix + name)["size"]
            except FileNotFoundError:
                return None
            except BaseError:
                # An answer to HEAD has no body, and so no reason; one to GET has.
                return obstore.get(self._store, self._prefix + name).meta["size"]

    def digest_of(self, name: str) -> Digest:
        """See ``PublishedPlace``."""
        hasher = Hasher()
        for chunk in self.chunks(name):
            hasher.update(chunk)
        return hasher.digest()

    def chunks(self, name: str) -> Iterator[bytes]:
        """See ``PublishedPlace``."""
        import obstore

        with self._explained(name):
            for chunk in obstore.get(self._store, self._prefix + name).stream(_PART):
                yield bytes(chunk)

    def add(self, source: Path, name: str) -> bool:
        """See ``PublishedPlace``."""
        import obstore

        if source.stat().st_size <= _SMALL:
            return self._put(name, read_bytes(source, _SMALL), "create")
        if self.size_of(name) is not None:
            return False
        with self._explained(name):
            obstore.put(
                self._store,
                self._prefix + name,
                source,
                use_multipart=True,
                chunk_size=_PART,
                max_concurrency=_AT_ONCE,
            )
        return True

    def update(self, name: str, change: Change, most: int) -> bytes:
        """See ``PublishedPlace``."""
        for _ in range(_TRIES):
            found = self._read(name, most)
            before, mode = (None, "create") if found is None else found
            after = change(before)
            if after == before or self._put(name, after, mode):
                return after
        raise UpstreamError(f"{self}/{name}: others changed it {_TRIES} times meanwhile")

    def remove(self, name: str) -> None:
        """See ``PublishedPlace``."""
        import obstore

        with self._explained(name):
            try:
                obstore.delete(self._store, self._prefix + name)
            except FileNotFoundError:
                return

    def _read(self, name: str, most: int) -> tuple[bytes, Any] | None:
        """Return an object, and the condition under which it may be replaced."""
        import obstore

        with self._explained(name):
            try:
                answer = obstore.get(self._store, self._prefix + name)
            except FileNotFoundError:
                return None
            if answer.meta["size"] > most:
                raise IntegrityError(
                    f"{self}/{name}: expected at most {most} bytes, got {answer.meta['size']}"
                )
            return bytes(answer.bytes()), {"e_tag": answer.meta["e_tag"]}

    def _put(self, name: str, data: bytes, mode: Any) -> bool:
        """Write an object under a condition; False if that does not hold."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._explained(name):
            try:
                obstore.put(self._store, self._prefix + name, data, mode=mode)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn what the library raises into an error of ours."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise refusal(f"{self}/{name}", error) from error


def _opened(bucket: Bucket, settings: HttpSettings) -> S3Store:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError as error:
        raise EnvironmentProblem(
            "publishing to S3 needs a library that is not installed",
            hint="pip install 'isobuilder[s3]'",
        ) from error
    endpoint = bucket.endpoint
    config: S3Config = {"region": bucket.region, "checksum_algorithm": "SHA256"}
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=settings.connect_timeout),
        "read_timeout": timedelta(seconds=settings.stall_timeout),
        "timeout": timedelta(hours=1),  # for one request
        "user_agent": settings.user_agent,
    }
    access = access_to(settings.servers, endpoint) if endpoint else None
    if endpoint:
        config["endpoint"], config["virtual_hosted_style_request"] = endpoint, False
        client["allow_http"] = urlsplit(endpoint).scheme == "http"
    if access and access.ca_file:
        client["root_certificate"] = read_bytes(access.ca_file, _SMALL)
    if login := configured_login(access):
        config["access_key_id"], config["secret_access_key"] = login.user, login.password
    elif not any(os.environ.get(name) for name in _OWN_LOGINS):
        raise EnvironmentProblem(
            f"s3://{bucket.name}: nobody said who may write there",
            hint=LOGIN_HINT,
        )
    retry: Any = {
        "max_retries": _RETRIES,
        "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
    }
    try:
        return S3Store(bucket.name, config=config, client_options=client, retry_config=retry)
    except (BaseError, ValueError) as error:
        first = printable(str(error).partition("\n")[0], _MOST_SAID)
        raise EnvironmentProblem(f"s3://{bucket.name}: {first}", hint=LOGIN_HINT) from error


_OWN_LOGINS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
