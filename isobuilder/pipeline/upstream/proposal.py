"""Propose a recipe for a version, with a reason for every number in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from isobuilder.documents.nodes import plain
from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.documents.text import yaml_text
from isobuilder.errors import InputError, IsobuilderError
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.model.loading import builtin_recipes, load_lock, load_recipe
from isobuilder.model.lock import Lock
from isobuilder.model.profile import DEFAULT_PROFILE, PROFILES, ProfileName
from isobuilder.model.recipe import Recipe
from isobuilder.pipeline.fit import parts_of
from isobuilder.pipeline.lock import lock_path, lock_recipe
from isobuilder.pipeline.shipped import shipped
from isobuilder.pipeline.upstream.added import choose_added, network_of
from isobuilder.pipeline.upstream.difference import news, of_locks
from isobuilder.rules.book import RuleBook, shipped_rules
from isobuilder.rules.fit import Parts
from isobuilder.rules.pairings import newest_known
from isobuilder.sources.session import Session
from isobuilder.sources.upstream.choose import Chooser, ChosenVersion
from isobuilder.sources.upstream.newest import newest
from isobuilder.sources.upstream.sight import Sight
from isobuilder.text import printable

_VARS: Mapping[str, str] = {
    "containerd": "containerd",
    "runc": "runc",
    "cni-plugins": "cni",
    "crictl": "crictl",
    "etcd": "etcd",
}
"""The variable of our base recipes that holds a component's version."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A recipe for a version, and why each number in it is what it is."""

    version: KubeVersion
    text: str
    base: Path
    choices: tuple[ChosenVersion, ...]
    added: tuple[ChosenVersion, ...]  # the same of what Mold adds
    changes: tuple[str, ...]  # of numbers, against the recipe it was begun from
    news: tuple[str, ...] = ()  # what that means: images, configuration, notes, what is mended
    lacks: tuple[str, ...] = ()  # with any, it is a candidate that a person has to complete
    locks: Mapping[str, Path | str] = field(default_factory=dict)  # a lock, or why there is none
    contents: tuple[str, ...] = ()  # how files, images and sizes change, where it is locked

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "version": str(self.version),
            "begun_from": printable(self.base.name),
            "candidate": bool(self.lacks),
            "lacks": self.lacks,
            "recipe": self.text,
            "changes": self.changes,
            "news": self.news,
            "choices": [
                {
                    "component": one.component,
                    "version": str(one.version) if one.version else None,
                    "reason": one.reason,
                }
                for one in (*self.choices, *self.added)
            ],
            "locks": {
                name: {"path": str(lock)} if isinstance(lock, Path) else {"error": lock}
                for name, lock in self.locks.items()
            },
            "contents": self.contents,
        }

    @property
    def markdown(self) -> str:
        """The proposal in words fit for a merge request."""
        candidate = " (candidate)" if self.lacks else ""
        lines = [
            f"# Kubernetes {self.version}{candidate}",
            "",
            f"Begun from {printable(self.base.name)}.",
        ]
        for title, items in (
            ("Missing", (*self.lacks, *self.unlocked)),
            ("Versions", self.changes),
            ("What that means", self.news),
            ("Contents", self.contents),
        ):
            if items:
                lines += ["", f"## {title}", "", *(f"- {item}" for item in items)]
        lines += ["", "## Why", "", "| Part | Version | Why |", "|---|---|---|"]
        lines += [
            f"| {one.component} | {one.version or none} | {one.reason} |"
            for chosen, none in ((self.choices, "not known"), (self.added, "-"))
            for one in chosen
        ]
        return "\n".join(lines) + "\n"

    @property
    def lock_files(self) -> list[Path]:
        """The locks that were written."""
        return [lock for lock in self.locks.values() if isinstance(lock, Path)]

    @property
    def unlocked(self) -> list[str]:
        """The architectures that could not be locked, each with its reason."""
        return [
            f"{name}: not locked: {why}" for name, why in self.locks.items() if isinstance(why, str)
        ]

    def locked(self, recipe: Path, session: Session) -> Proposal:
        """Lock ``recipe``, where this was written, for each architecture, and tell the difference.

        What cannot be locked here and now is told with its reason, and keeps no other from it.
        """
        locks: dict[str, Path | str] = {}
        contents: list[str] = []
        for architecture in load_recipe(recipe).architectures:
            try:
                made = lock_recipe(recipe, architecture, session)
            except IsobuilderError as error:
                locks[architecture] = str(error)
            else:
                locks[architecture] = made.path
                contents += of_locks(_lock_of(self.base, architecture), made.lock)
        return replace(self, locks=locks, contents=tuple(contents))


def propose(
    version: KubeVersion,
    recipes: Iterable[Path],
    sight: Sight,
    *,
    rules: RuleBook | None = None,
    hold: int = 1,
    profile: ProfileName | None = None,
) -> Proposal:
    """Return a recipe for ``version``, begun from the nearest of ``recipes`` before it.

    With ``profile`` it is of that profile, whatever the one it is begun from is.

    Raises:
        InputError: there is no recipe to begin from.
    """
    base = _nearest(version, recipes)
    recipe = load_recipe(base)
    profile = profile or recipe.profile
    parts = replace(parts_of(recipe), pins_pause=PROFILES[profile].imports_by_digest)
    book = rules or shipped_rules()
    chooser = Chooser(version, sight, book, hold, parts.pins_pause)
    choices = tuple(
        chooser.choose(component, current)
        for component, current in sorted(parts.components.items())
    )
    wanted = {name for name, _manifest in PROFILES[profile].components}
    added = choose_added(recipe, version, sight, wanted)
    if profile == recipe.profile:
        added.choices += network_of(recipe, chooser)
    changes = [f"Kubernetes {recipe.kubernetes} -> {version}", *_changes(choices, parts)]
    taken = {one.component: one.version for one in choices if one.version is not None}
    moved = {name: one for name, one in taken.items() if one != parts.components[name]}
    own = {_VARS[name]: str(one) for name, one in moved.items()} | added.variables
    changes += [
        f"{name} {recipe.vars.get(name, 'none')} -> {value}"
        for name, value in added.variables.items()
    ]
    text = _text(base, recipe, version, profile, own)
    chosen = (*choices, *added.choices)
    note = _note(version, base, sight, chosen, parts, added.lacks, book)
    if profile != recipe.profile:
        note += _left_out(profile)
    after = replace(parts, kubernetes=version, components={**parts.components, **taken})
    return Proposal(
        version,
        note + text,
        base,
        choices,
        tuple(added.choices),
        tuple(changes),
        news(parts, after, sight, book),
        tuple(added.lacks),
    )


def _text(
    base: Path, recipe: Recipe, version: KubeVersion, profile: ProfileName, own: Mapping[str, str]
) -> str:
    """Return the recipe in ``base`` for another version and profile, with ``own`` variables."""
    tree = plain(read_yaml(base))
    strange = set(recipe.components) - {name for name, _path in PROFILES[profile].components}
    kept = {
        name: value
        for name, value in dict(tree.get("vars", {})).items()
        if name.split("_")[0] not in strange
    }
    told = {"kubernetes": str(version), "revision": 1, "profile": profile}
    if profile != recipe.profile:
        told["extends"] = f"base/{profile}.yaml"
    return yaml_text({**tree, **told, "vars": {**kept, **own}})


def _changes(choices: Iterable[ChosenVersion], parts: Parts) -> Iterator[str]:
    """Yield how numbers differ from what they were, and which nobody could tell."""
    for one in choices:
        current = parts.components[one.component]
        if one.version is None:
            yield f"{one.component} {current}: {one.reason}"
        elif one.version != current:
            yield f"{one.component} {current} -> {one.version}: {one.reason}"


def _note(
    version: KubeVersion,
    base: Path,
    sight: Sight,
    choices: Sequence[ChosenVersion],
    parts: Parts,
    lacks: Sequence[str],
    book: RuleBook,
) -> str:
    """Return the comment a proposed recipe begins with."""
    lines = [f"Begun from {printable(base.name)} on {sight.day}, by rules of {book.as_of}."]
    lines += [f"Candidate: {lack}." for lack in lacks]
    if book.pairing(version) is None:
        newest = newest_known(version)
        minor = version.minor_text
        known = f"{minor} up to {newest}" if newest else f"nothing of {minor}"
        lines += [
            f"Which etcd, CoreDNS and pause image kubeadm {version} wants is not known here:",
            f"the table of {book.as_of} has {known}.",
            "isobuilder lock asks this version's own kubeadm; let etcd fit what it answers.",
        ]
    for one in choices:
        number = one.version or parts.components.get(one.component)
        lines.append(f"{one.component}{f' {number}' if number else ''}: {one.reason}")
    return "".join(f"# {line}\n" for line in lines)


def _left_out(profile: ProfileName) -> str:
    """Return a comment on the manifests that a profile would like to have and its base has not."""
    base = (builtin_recipes() / "base" / f"{profile}.yaml").read_text("utf-8")
    wanted = [
        f"# - {path}: {need.why}\n"
        for need in PROFILES[profile].wishes
        for path in need.paths
        if need.kind == "manifest" and f"path: {path}" not in base
    ]
    if not wanted:
        return ""
    return (
        "# Not in it, because its authors have them on branches, which nobody can lock; add them\n"
        "# under manifests, with the address of a release or a commit:\n" + "".join(wanted)
    )


def meant(text: str, sight: Sight) -> KubeVersion:
    """Return the version that ``latest``, ``1.37``, ``1.37.2`` or ``v1.37.2`` means upstream.

    Raises:
        InputError: nothing of that name is out, as far as could be seen.
    """
    wanted = text.removeprefix("v")
    found: ReleaseVersion | None = None
    if wanted == "latest":
        found = sight.stable or max((one.version for one in sight.index), default=None)
    elif wanted.count(".") == 1:
        found = sight.newest(wanted) or max(
            (one.version for one in sight.index if one.version.line_text == wanted), default=None
        )
    else:
        try:
            return KubeVersion(wanted)
        except ValueError as error:
            raise InputError(str(error), hint="or a minor such as 1.37, or latest") from None
    if found is None:
        known = ", ".join(sorted(minor for minor in sight.markers if minor)) or "no minor at all"
        shipped_here = [one.version for one in shipped()]
        near = [one for one in shipped_here if one.minor_text == wanted] or shipped_here
        raise InputError(
            f"no release of Kubernetes {text} was seen; seen: {known}",
            hint=f"write the whole version; the newest known here is {near[-1]}",
        )
    return KubeVersion(str(found))


def _nearest(version: KubeVersion, recipes: Iterable[Path]) -> Path:
    """Return the recipe of the highest version not above ``version``; else of the lowest minor.

    Of its revisions the highest; of its kinds the usual one, whose file a sync would write.
    """
    known = [(recipe, path) for path in recipes for recipe in (load_recipe(path),)]
    if not known:
        raise InputError("no recipe to begin from", hint="name a folder with --recipes")
    before = [item for item in known if item[0].kubernetes <= version]
    if not before:
        lowest = min(recipe.kubernetes for recipe, _path in known).minor
        before = [item for item in known if item[0].kubernetes.minor == lowest]
    last = newest(before, lambda item: item[0])
    return max(
        (recipe.kubernetes, recipe.flavour == DEFAULT_PROFILE, not recipe.boot, path)
        for recipe, path in last
    )[-1]


def _lock_of(recipe_path: Path, architecture: str) -> Lock | None:
    """Return the lock of a recipe as it lies beside it, if there is a good one."""
    recipe: Recipe = load_recipe(recipe_path)
    path = lock_path(recipe_path, recipe, architecture)
    try:
        return load_lock(path) if path.exists() else None
    except InputError:
        return None
