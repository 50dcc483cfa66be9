"""Whose signatures are expected: policies, exceptions, and what a recipe says of both."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, NonNegativeInt, StringConstraints, model_validator

from isobuilder.formats.kube import KubeVersion
from isobuilder.model.base import ONE_LINE, IsoPath, Model, Name

Line = Annotated[str, StringConstraints(pattern=ONE_LINE, min_length=1, max_length=500)]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}([0-9A-F]{24})?$")]
Form = Literal["pair", "bundle", "attestation", "detached", "clear-signed"]
Level = Literal["needed", "wanted"]


def check_prefix(text: str) -> str:
    """Return ``text`` if it may begin the names of images: a registry, perhaps with folders."""
    if not re.fullmatch(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]*)?", text):
        raise ValueError(f"expected a registry such as registry.k8s.io/, got {text[:80]!r}")
    return text


class ExpectedSigner(Model):
    """Who has to have signed, and in which form the signature is served.

    One of: ``identity`` and ``issuer`` of a certificate, ``key`` as PEM, ``fingerprints`` of
    OpenPGP keys that ``keyring`` has. In an identity ``{repository}`` is OWNER/REPO of a file at
    github.com, and ``*`` is anything without an @.
    """

    identity: Line | None = None
    issuer: Line | None = None
    key: str | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    keyring: str | None = None  # armored keys, or the name of a keyring that is shipped
    form: Form = "pair"

    @model_validator(mode="after")
    def _of_one_kind(self) -> ExpectedSigner:
        if (self.identity is None) != (self.issuer is None):
            raise ValueError("identity and issuer belong together: either alone is anybody's")
        given = [self.identity is not None, self.key is not None, bool(self.fingerprints)]
        if given.count(True) != 1:
            raise ValueError("expected identity and issuer, or a key, or fingerprints")
        if bool(self.fingerprints) != (self.form in {"detached", "clear-signed"}):
            raise ValueError(f"form {self.form} does not go with what is expected of the signer")
        if bool(self.fingerprints) != (self.keyring is not None):
            raise ValueError("fingerprints and a keyring that has their keys belong together")
        return self

    def is_named(self, identity: str, issuer: str, url: str) -> bool:
        """Say if a certificate with these words, for the file at ``url``, is the expected one."""
        if self.identity is None or issuer != self.issuer:
            return False
        parts = self.identity.replace("{repository}", repository_of(url) or "{repository}")
        pattern = "[^@]*".join(re.escape(part) for part in parts.split("*"))
        return re.fullmatch(pattern, identity) is not None

    def __str__(self) -> str:
        if self.identity is not None:
            return f"{self.identity} (logged in at {self.issuer})"
        if self.key is not None:
            return "whoever has the policy's key"
        return " or ".join(f"the OpenPGP key {one}" for one in self.fingerprints)


def repository_of(url: str) -> str | None:
    """Return OWNER/REPO of an address at github.com."""
    parts = urlsplit(url)
    names = parts.path.split("/")
    return "/".join(names[1:3]) if parts.hostname == "github.com" and len(names) > 3 else None


class SignatureException(Model):
    """A hole that upstream has left, and until when it is put up with."""

    kubernetes: KubeVersion
    covers: Literal["files", "images", "all"] = "all"
    reason: Line
    noted: date  # when somebody looked
    until: date | None = None  # the last day on which a lock may be made with it; None: for good

    @model_validator(mode="after")
    def _in_order(self) -> SignatureException:
        if self.until is not None and self.until < self.noted:
            raise ValueError(f"until {self.until} is before it was noted, {self.noted}")
        return self


class SignaturePolicy(Model):
    """Whose signatures are expected of what."""

    files: ExpectedSigner | None = None  # for files whose ``signature`` names the policy
    paths: tuple[IsoPath, ...] = ()  # of an ISO, where only such a file may lie
    images: ExpectedSigner | None = None
    of: tuple[Annotated[str, AfterValidator(check_prefix)], ...] = ()  # how names of images begin
    level: Level = "wanted"  # what a lock makes of a missing or bad signature
    rebuilt: NonNegativeInt = 0  # builders with keys of their own who have to prove each path
    exceptions: tuple[SignatureException, ...] = ()

    @model_validator(mode="after")
    def _of_something(self) -> SignaturePolicy:
        if self.files is None and self.images is None:
            raise ValueError("expected files, images or both")
        if bool(self.of) != (self.images is not None):
            raise ValueError("images and of belong together: of says which images")
        if self.rebuilt and not self.paths:
            raise ValueError("rebuilt is about paths, and there are none")
        return self

    def covers_image(self, name: str) -> bool:
        """Say if the policy is about the image ``name``, a repository with its registry."""
        return any(f"{name}/".startswith(prefix.rstrip("/") + "/") for prefix in self.of)

    def exception(
        self, kubernetes: KubeVersion, what: Literal["files", "images"]
    ) -> SignatureException | None:
        """Return what is known to be missing of a version."""
        for one in self.exceptions:
            if one.kubernetes == kubernetes and one.covers in {what, "all"}:
                return one
        return None


class RecipeTrust(Model):
    """What a recipe says of signatures, beside the ``signature`` of its files."""

    policies: dict[Name, SignaturePolicy] = {}  # they win over shipped ones of the same name
    needed: tuple[Name, ...] = ()  # policies without whose signatures nothing is locked
