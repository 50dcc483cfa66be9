"""Propose a recipe for a version, with a reason for every number in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isobuilder.documents.nodes import plain
from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.documents.text import yaml_text
from isobuilder.errors import InputError
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.model.loading import load_recipe
from isobuilder.pipeline.fit import parts_of
from isobuilder.rules.book import RuleBook, shipped_rules
from isobuilder.sources.upstream.choose import Chooser, ChosenVersion
from isobuilder.sources.upstream.sight import Sight

VARS: Mapping[str, str] = {
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
    begun_from: str
    choices: tuple[ChosenVersion, ...]
    changes: tuple[str, ...]  # against the recipe it was begun from

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "version": str(self.version),
            "begun_from": self.begun_from,
            "recipe": self.text,
            "changes": self.changes,
            "choices": [
                {
                    "component": one.component,
                    "version": str(one.version) if one.version else None,
                    "reason": one.reason,
                }
                for one in self.choices
            ],
        }

    @property
    def markdown(self) -> str:
        """The proposal in words fit for a merge request."""
        lines = [f"# Kubernetes {self.version}", "", f"Begun from {self.begun_from}.", ""]
        lines += [f"- {change}" for change in self.changes]
        lines += ["", "| Part | Version | Why |", "|---|---|---|"]
        lines += [
            f"| {one.component} | {one.version or 'not known'} | {one.reason} |"
            for one in self.choices
        ]
        return "\n".join(lines) + "\n"


def propose(
    version: KubeVersion,
    recipes: Iterable[Path],
    sight: Sight,
    *,
    rules: RuleBook | None = None,
    hold: int = 1,
) -> Proposal:
    """Return a recipe for ``version``, begun from the nearest of ``recipes`` before it.

    Raises:
        InputError: there is no recipe to begin from.
    """
    base = _nearest(version, recipes)
    recipe = load_recipe(base)
    parts = parts_of(recipe)
    book = rules or shipped_rules()
    chooser = Chooser(version, sight, book, hold, parts.pins_pause)
    choices = tuple(
        chooser.choose(component, current)
        for component, current in sorted(parts.components.items())
    )
    tree = plain(read_yaml(base))
    own = dict(tree.get("vars", {}))
    changes = [f"Kubernetes {recipe.kubernetes} -> {version}"]
    for one in choices:
        current = parts.components[one.component]
        if one.version is not None and one.version != current:
            changes.append(f"{one.component} {current} -> {one.version}: {one.reason}")
            own[VARS[one.component]] = str(one.version)
        elif one.version is None:
            changes.append(f"{one.component} {current}: {one.reason}")
    if recipe.kubernetes.minor != version.minor and any("autoscaler" in name for name in own):
        changes.append(
            f"autoscaler: as for {recipe.kubernetes.minor_text}, a candidate until its authors "
            f"release one for {version.minor_text}"
        )
    data = {**tree, "kubernetes": str(version), "revision": 1, "vars": own}
    reasons = "".join(
        f"# {one.component} {one.version or parts.components[one.component]}: {one.reason}\n"
        for one in choices
    )
    text = f"# Proposed on {sight.day}, begun from {base.name}.\n{reasons}{yaml_text(data)}"
    return Proposal(version, text, base.name, choices, tuple(changes))


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
        raise InputError(f"no release of Kubernetes {text} was seen; seen: {known}")
    return KubeVersion(str(found))


def _nearest(version: KubeVersion, recipes: Iterable[Path]) -> Path:
    """Return the recipe of the highest version that is not above ``version``; else the lowest."""
    known = [(load_recipe(path).kubernetes, path) for path in recipes]
    if not known:
        raise InputError("no recipe to begin from", hint="name a folder with --recipes")
    before = [item for item in known if item[0] <= version]
    key = max(before) if before else min(known)
    return key[1]
