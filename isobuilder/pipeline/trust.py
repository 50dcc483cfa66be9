"""ISO -> who signed what is on it, proved from the ISO alone; time is that of logs, never ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import own_path
from isobuilder.medium import Medium
from isobuilder.model.config import Config
from isobuilder.model.finding import Finding
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.lock import Lock
from isobuilder.model.trust.claims import (
    CLAIMS,
    EVIDENCE,
    EvidenceFile,
    LockedTrust,
    RebuiltProgram,
    SignatureClaim,
)
from isobuilder.model.trust.policies import ExpectedSigner, SignaturePolicy
from isobuilder.model.validation import parse_json
from isobuilder.text import printable
from isobuilder.trust.evidence.claims import Content, prove
from isobuilder.trust.evidence.policies import known_policies
from isobuilder.trust.evidence.root import TrustedRoot, load_root
from isobuilder.trust.publickeys import TrustedKeys, read_keys
from isobuilder.trust.rebuild.claims import judge_rebuilt

_log = logging.getLogger(__name__)

RULE = "trust.signature"
_REBUILT = "trust.rebuilt"

_LARGEST = 256 * 1024 * 1024  # bytes of a program that has a detached signature
_AGAIN = "lock again where upstream and its log can be reached, or write an exception with a reason"
_REBUILD = "isobuilder trust rebuild --sign makes a proof; --builders says whose count"
_STRANGER = "name its key with --builders if it should"
_OTHER = "do not use this ISO: what it has is not what was signed, or was signed by others"


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """What is known of one file or image: one line for people."""

    subject: str
    path: str
    status: str  # signed, excepted, or rebuilt from source
    by: str
    moment: datetime | None
    evidence: str
    builders: int = 0  # with keys of their own, who built it again from public source

    def __str__(self) -> str:
        at = "" if self.moment is None else f", {self.moment:%Y-%m-%d %H:%M:%S} UTC"
        by = self.by if self.status == "excepted" else f"by {self.by}"
        told = f", {self.evidence}" if self.evidence else ""
        return printable(f"{self.status}: {self.path} ({self.subject}): {by}{at}{told}", 1000)


@dataclass(frozen=True, slots=True)
class Trust:
    """By what signatures are judged."""

    root: TrustedRoot
    policies: Mapping[str, SignaturePolicy]
    builders: TrustedKeys | None = None  # whose word counts that they built a program again

    @classmethod
    def of(
        cls,
        config: Config,
        root: Path | None = None,
        policies: Path | None = None,
        builders: Sequence[Path] = (),
    ) -> Trust:
        """Return by what signatures are judged: files, else those of settings, else what we ship.

        Raises:
            InputErrors, InputError, IntegrityError: a file is none of its kind.
        """
        return cls(
            load_root(root or _path(config.trusted_root)),
            known_policies(policies or _path(config.policies)),
            builders_of(config, builders),
        )


def builders_of(config: Config, files: Sequence[Path] = ()) -> TrustedKeys | None:
    """Return the keys of those whose rebuilding counts: of files, else of the settings.

    Raises:
        InputErrors, InputError: a file is no key and no list of keys.
    """
    named = [*files] or [path for path in (_path(config.builders),) if path is not None]
    return read_keys(named) if named else None


def _path(text: str | None) -> Path | None:
    return None if text is None else own_path(text)


@dataclass(slots=True)
class TrustReport:
    """What was found of every signature that somebody expects."""

    lines: list[SignatureLine] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    open_ends: list[str] = field(default_factory=list)

    def wrong(
        self,
        place: str,
        fact: str,
        remedy: str = _OTHER,
        *,
        only_told: bool = False,
        rule: str = RULE,
    ) -> None:
        """Note something that is not as it should be."""
        severity = "warning" if only_told else "error"
        finding = {"rule": rule, "place": place, "fact": fact, "remedy": remedy}
        self.findings.append(Finding.model_validate({**finding, "severity": severity}))


def prove_signatures(
    medium: Medium,
    files: Mapping[str, Digest],
    manifest: IsoManifest | None,
    trust: Trust,
    lock: Lock | None = None,
) -> TrustReport:
    """Return what the evidence on an ISO proves of what is on it.

    ``files`` is the digest of every file of the ISO. A policy is that of ``trust``; one that only
    the ISO has counts for what it is, the ISO's own word, unless ``lock`` has it too.

    Raises:
        EnvironmentProblem: the extra ``trust`` is not installed.
    """
    report = TrustReport()
    told = _told(medium, report)
    judge = _Judge(medium, files, manifest, trust, lock, told, report)
    for claim in told.claims if told is not None else ():
        judge.claim(claim)
    for path, image, name in judge.expected():
        judge.unclaimed(path, image, name)
    proven = {line.path for line in report.lines}
    for program in told.rebuilt if told is not None else ():
        judge.rebuilt(program)
    for policy in trust.policies.values():
        judge.demand_rebuilt(policy)
    count = len([path for path in files if not path.startswith(f"{EVIDENCE}/")])
    rest = count - len(proven)
    report.open_ends.append(f"who made the other {rest} files: no policy expects a signature")
    return report


def demand_trust(
    medium: Medium,
    files: Mapping[str, Digest],
    manifest: IsoManifest,
    trust: Trust,
    lock: Lock,
) -> tuple[SignatureLine, ...]:
    """Return who signed what is on an ISO of ``lock``, which may be one that nobody has written.

    Raises:
        IntegrityError: something is not proved that a policy needs; all of it is told.
        EnvironmentProblem: as ``prove_signatures``.
    """
    report = prove_signatures(medium, files, manifest, trust, lock)
    wrong = [one for one in report.findings if one.severity == "error"]
    for one in report.findings:
        if one.severity == "warning":
            _log.warning("%s: %s", one.place, one.fact)
    if wrong:
        facts = [f"{lock.base_name}: {one.place}: {one.fact}" for one in wrong]
        raise IntegrityError(*facts, hint=wrong[0].remedy)
    return tuple(report.lines)


def _told(medium: Medium, report: TrustReport) -> LockedTrust | None:
    if CLAIMS not in medium.files:
        return None
    try:
        return parse_json(medium.read(CLAIMS), CLAIMS, LockedTrust)
    except (InputError, IntegrityError) as error:
        report.wrong(CLAIMS, str(error))
        return None


@dataclass(slots=True)
class _Judge:
    medium: Medium
    files: Mapping[str, Digest]
    manifest: IsoManifest | None
    trust: Trust
    lock: Lock | None
    told: LockedTrust | None
    report: TrustReport
    claimed: set[tuple[str, str]] = field(default_factory=set)  # paths, and by which policy

    def claim(self, claim: SignatureClaim) -> None:
        """Judge one claim, and note what comes of it."""
        self.claimed.add((claim.path, claim.policy))
        policy = self._policy(claim.policy)
        expected = policy.files if claim.what == "files" else policy.images
        if expected is None:
            self._wrong(claim, f"the policy {claim.policy} expects nothing of it")
        elif not self._is_its_address(claim, expected):
            self._wrong(claim, f"published at {claim.url}, which the lock does not say")
        elif not self._is_there(claim):
            self._wrong(claim, f"{claim.sha256} was signed, which is not what is there")
        elif claim.status == "signed":
            try:
                proven = prove(claim, expected, self._body, self._content(claim), self.trust.root)
            except (IntegrityError, InputError) as error:
                self._wrong(claim, str(error))
                return
            self.report.lines += [
                SignatureLine(
                    one.subject,
                    claim.path,
                    "signed",
                    one.by,
                    one.moment,
                    f"{one.evidence}: {one.file}",
                )
                for one in proven
            ]
        elif claim.status == "excepted":
            self._excepted(claim, policy)
        else:
            self._unsigned(claim.path, _image(claim), policy, f"unsigned: {claim.why}")

    def _wrong(self, claim: SignatureClaim, fact: str) -> None:
        self.report.wrong(claim.path, _image(claim) + fact)

    def _excepted(self, claim: SignatureClaim, policy: SignaturePolicy) -> None:
        version = self.manifest.kubernetes_version if self.manifest is not None else None
        known = None if version is None else policy.exception(version, claim.what)
        if known is None:
            fact = f"an exception that the policy does not have: {claim.why}"
            self._unsigned(claim.path, _image(claim), policy, fact)
            return
        until = f", until {known.until}" if known.until else ""
        by = f"unsigned, as is known since {known.noted}{until}: {known.reason}"
        self.report.lines.append(SignatureLine(claim.subject, claim.path, "excepted", by, None, ""))

    def _unsigned(self, path: str, image: str, policy: SignaturePolicy, fact: str) -> None:
        self.report.wrong(path, image + fact, _AGAIN, only_told=policy.level == "wanted")

    def expected(self) -> Iterator[tuple[str, str, str]]:
        """Give every path of the ISO that a policy covers, which image that is, and the policy."""
        images = self.manifest.images if self.manifest is not None else ()
        for name, policy in sorted(self.trust.policies.items()):
            for path in policy.paths:
                if path in self.files:
                    yield path, "", name
            for image in images:
                repository = image.reference.partition("@")[0]
                if policy.covers_image(repository):
                    yield image.path, f"{image.reference}: ", name

    def unclaimed(self, path: str, image: str, name: str) -> None:
        """Note what nobody looked for, if nobody did."""
        if (path, name) not in self.claimed:
            policy = self.trust.policies[name]
            fact = f"unsigned: the policy {name} expects a signature, and no evidence was captured"
            self._unsigned(path, image, policy, fact)

    def rebuilt(self, program: RebuiltProgram) -> None:
        """Judge what is said of a program that was built again, and note what comes of it."""
        if self.files.get(program.path) != program.sha256:
            fact = f"{program.sha256} was built again, which is not what is there"
            self.report.wrong(program.path, fact, rule=_REBUILT)
            return
        try:
            proven = judge_rebuilt(program, self._body, self.trust.builders)
        except (IntegrityError, InputError) as error:
            self.report.wrong(program.path, str(error), rule=_REBUILT)
            return
        for place, why in proven.strangers:
            fact = f"{place}: does not count: {why}"
            self.report.wrong(program.path, fact, _STRANGER, only_told=True, rule=_REBUILT)
        if not proven.builders:
            who = ", ".join(proven.others)
            why = f"{who} signed that, whose keys nobody named" if who else "nobody signed that"
            self._leave_open(f"that {program.path} was rebuilt from source ({proven.proof}): {why}")
            return
        count = f"{proven.count} builder{'' if proven.count == 1 else 's'}"
        by = f"{count} ({', '.join(proven.builders)}), {proven.proof}"
        files = ", ".join(one.path for one in program.evidence)
        self.report.lines.append(
            SignatureLine(
                program.subject,
                program.path,
                "rebuilt from source",
                by,
                None,
                files,
                builders=proven.count,
            )
        )

    def demand_rebuilt(self, policy: SignaturePolicy) -> None:
        """Note which paths fewer builders made again than a policy demands."""
        proven = {line.path: line.builders for line in self.report.lines if line.builders}
        for path in policy.paths:
            count = proven.get(path, 0)
            if path in self.files and count < policy.rebuilt:
                fact = f"expected {policy.rebuilt} builders who rebuilt it from source, got {count}"
                told = policy.level == "wanted"
                self.report.wrong(path, fact, _REBUILD, only_told=told, rule=_REBUILT)

    def _policy(self, name: str) -> SignaturePolicy:
        known = self.trust.policies.get(name)
        if known is not None:
            return known
        if self.lock is not None and self.lock.trust is not None:
            known = self.lock.trust.policies.get(name)
            if known is not None:
                return known
        assert self.told is not None  # noqa: S101  it has the claim
        self._leave_open(f"that the policy {name} is the right one: it is the ISO's own word")
        return self.told.policies[name]

    def _is_its_address(self, claim: SignatureClaim, expected: ExpectedSigner) -> bool:
        """Say if a file is published where it should be, where that decides who has to sign."""
        if "{repository}" not in (expected.identity or ""):
            return True
        if self.lock is None:
            self._leave_open(f"that {claim.path} is {claim.url}: it is the ISO's own word")
            return True
        return any((one.path, one.url) == (claim.path, claim.url) for one in self.lock.files)

    def _leave_open(self, what: str) -> None:
        if what not in self.report.open_ends:
            self.report.open_ends.append(what)

    def _is_there(self, claim: SignatureClaim) -> bool:
        if claim.what == "files":
            return self.files.get(claim.path) == claim.sha256
        images = self.manifest.images if self.manifest is not None else ()
        return any((one.path, one.digest) == (claim.path, claim.sha256) for one in images)

    def _body(self, one: EvidenceFile) -> bytes:
        if one.path not in self.files:
            raise IntegrityError(f"{one.path}: it is not on the ISO")
        if self.files[one.path] != one.sha256:
            raise IntegrityError(f"{one.path}: expected {one.sha256}, got {self.files[one.path]}")
        return self.medium.read(one.path)

    def _content(self, claim: SignatureClaim) -> Content:
        def read() -> bytes:
            if self.medium.files[claim.path].size > _LARGEST:
                raise IntegrityError(f"{claim.path}: more than {_LARGEST} bytes")
            with self.medium.open(claim.path) as file:
                return file.read()

        return read


def _image(claim: SignatureClaim) -> str:
    """Return how a fact about an image begins: its archive is called by a digest."""
    return f"{claim.subject}: " if claim.what == "images" else ""
