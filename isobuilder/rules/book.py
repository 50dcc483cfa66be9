"""The rules that are shipped: what fits with which Kubernetes version, each with its source.

``rules.json`` beside this module is the book. A file of the same form adds to it, row by row: a row
about the same thing takes the place of ours. Days are those of upstream, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.model.base import Model
from isobuilder.model.validation import build, load_json

MinorText = Annotated[str, Field(pattern=r"^1\.(0|[1-9][0-9]{0,3})$")]
"""A minor version of Kubernetes, ``1.37``."""

Level = Literal["error", "warning"]


class Span(Model):
    """Versions from one to another, both included; written ``2.3.0..2.3.3``."""

    first: ReleaseVersion
    last: ReleaseVersion

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        first, dots, last = value.partition("..")
        return {"first": first, "last": last if dots else first}

    def __contains__(self, version: ReleaseVersion) -> bool:
        return self.first <= version <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


class Row(Model):
    """One rule: where it comes from is a key of ``sources``."""

    source: str

    @property
    def about(self) -> tuple[object, ...]:
        """What this rule is about: of two with the same only one counts."""
        raise NotImplementedError


class Minor(Row):
    """When upstream looks after a minor version; a day that is not known is None."""

    minor: MinorText
    released: date | None = None
    planned: date | None = None
    maintenance: date | None = None  # from here on only what is serious is mended
    end: date | None = None  # the last day of support
    last: KubeVersion | None = None  # its last patch, once that is known

    @property
    def about(self) -> tuple[object, ...]:
        """The minor."""
        return (self.minor,)

    def ended(self, day: date) -> bool:
        """Whether its support was over on ``day``."""
        return self.end is not None and day > self.end


class Pairing(Row):
    """The tags kubeadm has built in, for a run of patches of one minor."""

    first: KubeVersion
    last: KubeVersion
    etcd: str
    coredns: str
    pause: str

    @property
    def about(self) -> tuple[object, ...]:
        """The first patch."""
        return (str(self.first),)


class Least(Row):
    """The oldest patch of each line of a component that serves a minor, and any newer line."""

    component: str
    kubernetes: MinorText
    any_of: tuple[ReleaseVersion, ...]

    @property
    def about(self) -> tuple[object, ...]:
        """The component and the minor."""
        return (self.component, self.kubernetes)

    def allows(self, version: ReleaseVersion) -> bool:
        """Whether ``version`` is new enough."""
        same = [least for least in self.any_of if least.line == version.line]
        if same:
            return version >= min(same)
        return version.line > max(least.line for least in self.any_of)


class ReleaseLine(Row):
    """A line of releases of a component, and until when it is looked after."""

    component: str
    line: Annotated[str, Field(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4})?$")]
    released: date | None = None
    end: date | None = None
    long_term: bool = False
    tested: tuple[MinorText, ...] = ()  # the minors its authors tested it with, where they say so

    @property
    def about(self) -> tuple[object, ...]:
        """The component and the line."""
        return (self.component, self.line)


class KnownBad(Row):
    """Versions of something that are not to be used, or not without a thought."""

    component: str
    versions: tuple[Span, ...]
    fact: str
    level: Level
    when: Literal["pinned-pause"] | None = None  # only for nodes that pin the pause image so
    fixed: str | None = None
    since: date | None = None  # when it became known

    @property
    def about(self) -> tuple[object, ...]:
        """The component and what is wrong with it."""
        return (self.component, self.fact)


class Unsigned(Row):
    """Kubernetes versions whose images or their signatures are not as they should be."""

    versions: tuple[Span, ...]
    fact: str

    @property
    def about(self) -> tuple[object, ...]:
        """The versions."""
        return tuple(str(span) for span in self.versions)


class KubeadmApi(Row):
    """Which minors read a version of kubeadm's configuration."""

    api: str
    first: MinorText
    last: MinorText | None = None

    @property
    def about(self) -> tuple[object, ...]:
        """The API."""
        return (self.api,)


class NodeNeed(Row):
    """What a node needs from this minor on."""

    kubernetes: MinorText
    fact: str
    kernel: str | None = None
    cgroup: int | None = None

    @property
    def about(self) -> tuple[object, ...]:
        """The minor and what is needed."""
        return (self.kubernetes, self.kernel, self.cgroup)


class Follows(Row):
    """A component that is released with each minor of Kubernetes, and how far it may be off."""

    component: str
    within: int

    @property
    def about(self) -> tuple[object, ...]:
        """The component."""
        return (self.component,)


class Skew(Row):
    """How far versions may be apart within one cluster, in minors."""

    kubelet_behind: int
    kubectl_either_way: int
    minors_at_once: int

    @property
    def about(self) -> tuple[object, ...]:
        """There is one."""
        return ()


def _known_sources(rows: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
    sources = info.data.get("sources", {})
    for row in rows:
        if sources and row.source not in sources:
            raise ValueError(f"the source {row.source!r} is not among sources")
    return rows


class RuleBook(Model):
    """All rules. ``as_of`` is the day on which somebody looked."""

    schema_: Literal[1] = Field(1, alias="schema")
    as_of: date
    sources: dict[str, str]
    minors: tuple[Minor, ...] = ()
    pairings: tuple[Pairing, ...] = ()
    least: tuple[Least, ...] = ()
    lines: tuple[ReleaseLine, ...] = ()
    known_bad: tuple[KnownBad, ...] = ()
    unsigned: tuple[Unsigned, ...] = ()
    kubeadm_api: tuple[KubeadmApi, ...] = ()
    node: tuple[NodeNeed, ...] = ()
    follows: tuple[Follows, ...] = ()
    skew: Skew | None = None

    @field_validator(
        "minors",
        "pairings",
        "least",
        "lines",
        "known_bad",
        "unsigned",
        "kubeadm_api",
        "node",
        "follows",
    )
    @classmethod
    def _sourced(cls, rows: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        return _known_sources(rows, info)

    @model_validator(mode="after")
    def _skew_sourced(self) -> Self:
        if self.skew is not None and self.skew.source not in self.sources:
            raise ValueError(f"the source {self.skew.source!r} is not among sources")
        return self

    def minor(self, text: str) -> Minor | None:
        """Return what is known of a minor such as ``1.37``."""
        return next((row for row in self.minors if row.minor == text), None)

    def line(self, component: str, version: ReleaseVersion) -> ReleaseLine | None:
        """Return the line that ``version`` of ``component`` belongs to, if it is known."""
        return next(
            (
                row
                for row in self.lines
                if row.component == component and row.line in {version.line_text, version.major}
            ),
            None,
        )

    def pairing(self, version: KubeVersion) -> Pairing | None:
        """Return what this exact patch of kubeadm has built in, or None when nobody read it."""
        return next((row for row in self.pairings if row.first <= version <= row.last), None)

    def node_needs(self, version: KubeVersion) -> list[str]:
        """Return what a node of ``version`` needs that no ISO brings: the newest word on each."""

        def reached(row: NodeNeed | Least) -> bool:
            return int(row.kubernetes.partition(".")[2]) <= version.minor

        newest = {
            (row.kernel is None, row.cgroup is None): row for row in filter(reached, self.node)
        }
        facts = [row.fact for row in newest.values()]
        runtimes = [row for row in filter(reached, self.least) if row.component == "containerd"]
        if runtimes:
            least = " or ".join(f"{one} of {one.line_text}" for one in runtimes[-1].any_of)
            facts.append(f"containerd {least}, or a newer line")
        return facts

    def bad(self, component: str, version: ReleaseVersion) -> list[KnownBad]:
        """Return what is known against ``version`` of ``component``."""
        return [
            row
            for row in self.known_bad
            if row.component == component and any(version in span for span in row.versions)
        ]

    def joined(self, other: RuleBook) -> RuleBook:
        """Return these rules with those of ``other`` before them, row by row."""
        rows = {
            name: _joined(getattr(self, name), getattr(other, name))
            for name in type(self).model_fields
            if isinstance(getattr(self, name), tuple)
        }
        update = {
            **rows,
            "as_of": max(self.as_of, other.as_of),
            "sources": {**self.sources, **other.sources},
            "skew": other.skew or self.skew,
        }
        return self.model_copy(update=update)


R = TypeVar("R", bound=Row)


def _joined(ours: Sequence[R], theirs: Iterable[R]) -> tuple[R, ...]:
    rows = {row.about: row for row in ours}
    rows.update({row.about: row for row in theirs})
    return tuple(rows.values())


@lru_cache(maxsize=1)
def shipped_rules() -> RuleBook:
    """Return the rules that came with this version of isobuilder."""
    return load_json(Path(__file__).with_name("rules.json"), RuleBook)


def read_rules(path: Path | None) -> RuleBook:
    """Return the shipped rules, and those of a YAML or JSON file on top of them.

    Raises:
        InputError: the file cannot be read.
        InputErrors: all that is wrong with it.
    """
    if path is None:
        return shipped_rules()
    own = load_json(path, RuleBook) if path.suffix == ".json" else build(read_yaml(path), RuleBook)
    return shipped_rules().joined(own)
