"""The policy of ``upstream sync``: what is followed, built, published and registered."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.files import own_path
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.base import Architecture, Builder, Days, Model, check_port
from isobuilder.model.validation import build

Minor = Annotated[str, Field(pattern=r"^1\.(0|[1-9][0-9]{0,3})$")]


def check_address(text: str) -> str:
    """Return ``text`` if servers can fetch from there, or be told there."""
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials in the address, at which servers fetch without any")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected http:// or https://, got {text[:80]!r}")
    if not text.isprintable() or " " in text:  # halves of characters cannot even be written down
        raise ValueError(f"characters that must be percent-encoded in {text[:80]!r}")
    check_port(parts)
    return text.rstrip("/")


Address = Annotated[str, AfterValidator(check_address)]


_PART = "[A-Za-z0-9_-][A-Za-z0-9._-]*"


class Bucket(Model):
    """A bucket of S3, or of what speaks it. Who may write there is not said here."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, Field(pattern=rf"^({_PART}(/{_PART})*)?$")] = ""
    endpoint: Address | None = None  # None: Amazon's, in the region
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = "us-east-1"


class Publish(Model):
    """Where finished ISOs go, and where servers find them."""

    folder: str | None = None
    s3: Bucket | None = None
    url: Address | None = None  # of the folder, or of the prefix in the bucket

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.folder is None) == (self.s3 is None):
            raise ValueError("expected either folder or s3, one place")
        return self


class Retire(Model):
    """What is taken away, from servers and from the published place. Its name stays its own."""

    patches: PositiveInt | None = None  # newest ones of a minor that stay; None: all
    ended_days: Days | None = None  # after the end of a minor; None: never
    servers: Literal["disable", "delete", "leave"] = "disable"


class Webhook(Model):
    """Who is told by a POST what a run did."""

    url: Address
    secret_file: str | None = None  # its first line signs what is sent


class Signing(Model):
    """With what every ISO is signed before it is published."""

    key: str | None = None  # a file, or pkcs11:...; None: the program in ISOBUILDER_SIGNER
    builder: Builder | None = None


class SignedBy(Model):
    """Whose signatures an ISO needs before it is published, and before it is registered."""

    keys: Annotated[tuple[str, ...], Field(min_length=1)]  # files: public keys, or lists of keys
    signatures: Annotated[int, Field(ge=1, le=16)] = 1  # builders with keys of their own who agree
    revoked: tuple[str, ...] = ()  # files: lists of keys that count no more
    folder: str | None = None  # in which builders exchange signatures


class Freeze(Model):
    """Days on which nothing new is begun; both included."""

    first: date
    last: date
    why: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"expected last not before first, got {self.first} to {self.last}")
        return self


MOST_DELTAS = 20
"""To one ISO: a minor version has some fifteen patches, and deltas are applied in a row."""


class SyncPolicy(Model):
    """What a sync does unattended."""

    format: Annotated[Literal[1], Field(alias="schema")]
    recipes: str  # the folder of recipes and locks; proposals are written there
    publish: Publish | None = None  # None: proposes and locks, and builds nothing
    trust: bool = False  # whether nothing is built whose signatures are not proved
    signing: Signing | None = None  # None: nothing is signed
    signed_by: SignedBy | None = None  # None: what is built is published
    architectures: tuple[Architecture, ...] = tuple(ARCHITECTURES)
    minors: tuple[Minor, ...] = ()  # those to follow; none: those that recipes are there for
    new_minors: bool = False  # whether a minor that no recipe is for is begun
    ended_minors: bool = False
    known_bad: bool = False  # whether versions that the rules warn of are begun all the same
    hold_days: Days = 3
    freezes: tuple[Freeze, ...] = ()
    servers: tuple[str, ...] = ()  # by their names in the settings
    rules: str | None = None
    keep_revisions: NonNegativeInt | None = None  # old ones beside the newest; None: all
    deltas: Annotated[int, Field(ge=0, le=MOST_DELTAS)] = 0
    """To each new ISO, from so many ISOs before it of its minor version and of its kind."""
    retire: Retire = Retire()
    webhook: Webhook | None = None

    @field_validator("architectures")
    @classmethod
    def _some(cls, found: tuple[str, ...]) -> tuple[str, ...]:
        if not found:
            raise ValueError(f"expected at least one of {', '.join(ARCHITECTURES)}, found none")
        return found

    @model_validator(mode="after")
    def _servers_can_fetch(self) -> Self:
        if self.servers and (self.publish is None or self.publish.url is None):
            raise ValueError("servers need publish.url, the address at which they fetch the ISOs")
        return self

    @model_validator(mode="after")
    def _deltas_can_be(self) -> Self:
        if self.deltas and self.publish is None:
            raise ValueError("deltas are published beside the ISOs, and publish is missing")
        if self.retire.patches is not None and self.deltas > self.retire.patches:
            raise ValueError(
                f"expected deltas from at most {self.retire.patches} ISOs, for retire.patches "
                f"takes the others away, got {self.deltas}"
            )
        return self

    def frozen(self, day: date) -> Freeze | None:
        """Return the freeze that ``day`` is in."""
        return next((one for one in self.freezes if one.first <= day <= one.last), None)


def read_policy(path: Path) -> SyncPolicy:
    """Return a policy; its folders are meant from the folder it is in.

    Raises:
        InputError: the file cannot be read.
        InputErrors: all that is wrong with it, each with its place.
    """
    policy = build(read_yaml(path), SyncPolicy)
    folder = path.resolve().parent

    def meant(text: str) -> str:
        return str(folder / own_path(text))

    changed: dict[str, object] = {"recipes": meant(policy.recipes)}
    if policy.rules is not None:
        changed["rules"] = meant(policy.rules)
    if (publish := policy.publish) is not None and publish.folder is not None:
        changed["publish"] = publish.model_copy(update={"folder": meant(publish.folder)})
    if (webhook := policy.webhook) is not None and webhook.secret_file is not None:
        secret = meant(webhook.secret_file)
        changed["webhook"] = webhook.model_copy(update={"secret_file": secret})
    key = policy.signing.key if policy.signing is not None else None
    if policy.signing is not None and key is not None and not key.startswith("pkcs11:"):
        changed["signing"] = policy.signing.model_copy(update={"key": meant(key)})
    if (by := policy.signed_by) is not None:
        places: dict[str, object] = {
            "keys": tuple(meant(one) for one in by.keys),
            "revoked": tuple(meant(one) for one in by.revoked),
            "folder": None if by.folder is None else meant(by.folder),
        }
        changed["signed_by"] = by.model_copy(update=places)
    return policy.model_copy(update=changed)
