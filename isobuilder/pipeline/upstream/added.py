"""What is taken of those whose files are named by a commit: Mold's own components, and Calico."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion, version_of
from isobuilder.model.recipe import Recipe
from isobuilder.sources.upstream.choose import Chooser, ChosenVersion
from isobuilder.sources.upstream.own import PROJECTS, OwnRelease
from isobuilder.sources.upstream.sight import Sight

_OF_THE_BUILD = {
    "autoscaler": ("autoscaler_baseline", "autoscaler_status", "autoscaler_binary_sha"),
    "provider": ("provider_sdk", "provider_sdk_sha"),
}
"""What only files of the release say."""


@dataclass(slots=True)
class AddedChoice:
    """The variables to set, why, and what stands between this and a recipe that is whole."""

    variables: dict[str, str] = field(default_factory=dict)
    choices: list[ChosenVersion] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)


def choose_added(
    recipe: Recipe, version: KubeVersion, sight: Sight, wanted: Collection[str]
) -> AddedChoice:
    """Return which releases of Mold's ``wanted`` components fit ``version`` best.

    A component whose releases could not be looked up is kept for a patch of the same minor.
    """
    found = AddedChoice()
    for component in PROJECTS:
        if component in recipe.components and component in wanted:
            _choose(component, recipe, version, sight, found)
    return found


def _choose(
    component: str, recipe: Recipe, version: KubeVersion, sight: Sight, found: AddedChoice
) -> None:
    has = recipe.vars
    tag = has.get(f"{component}_release", "")
    moved = component == "autoscaler" and recipe.kubernetes.minor != version.minor
    wanted = version.minor_text if component == "autoscaler" else None
    releases = [one for one in sight.own.get(component, ()) if one.minor == wanted]
    if not releases:
        reason = "its releases were not seen; kept"
        if component in sight.own:
            reason = f"none for {wanted or 'any version'} among those of {PROJECTS[component]}"
            found.lacks.append(f"{component}: {reason}; its authors have to release one")
        elif moved:
            found.lacks.append(f"{component}: whether there is one for {wanted} was not seen")
        found.choices.append(ChosenVersion(component, _of(has.get(component)), reason))
        return
    newest = releases[0]
    version_taken = _of(newest.version) or _of(has.get(component))
    if newest.commit is None:
        found.lacks.append(f"{component}: the commit of {newest.tag} could not be read")
        reason = f"newest is {newest.tag}, whose commit could not be read; kept"
        found.choices.append(ChosenVersion(component, _of(has.get(component)), reason))
        return
    reason = f"newest release{f' for {wanted}' if wanted else ''}, {newest.tag}"
    if baseline := newest.facts.get("autoscaler_baseline"):
        reason += f", built from {baseline} ({newest.facts['autoscaler_status']})"
    found.choices.append(ChosenVersion(component, version_taken, reason))
    other = newest.commit != has.get(f"{component}_sha") or (not moved and newest.tag != tag)
    if other:
        found.variables |= _variables(component, newest)
    if other or moved:
        _built_from(component, newest, has, found)


def _variables(component: str, release: OwnRelease) -> dict[str, str]:
    own = {f"{component}_sha": release.commit or "", f"{component}_release": release.tag}
    return own | ({component: release.version} if release.version else {})


def _built_from(
    component: str, release: OwnRelease, has: Mapping[str, str], found: AddedChoice
) -> None:
    """Take what a recipe says of the build from the release's own files, or miss it."""
    names = [name for name in _OF_THE_BUILD[component] if name in has]
    found.variables |= {name: release.facts[name] for name in names if name in release.facts}
    if unknown := [name for name in names if name not in release.facts]:
        what = f"{component}: {', '.join(unknown)}: what {release.tag} was built from"
        found.lacks.append(f"{what} could not be read")


def network_of(recipe: Recipe, chooser: Chooser) -> list[ChosenVersion]:
    """Return what is to be known about the network add-on, if the recipe says its version.

    It stays what it is: its manifest is named by a commit, and moving it is a person's decision.
    """
    current = _of(recipe.vars.get("calico"))
    if current is None:
        return []
    best = chooser.choose("calico", current)
    reason = best.reason
    if best.version is not None and best.version < current:
        reason = f"kept; the newest that was seen is {best.version}"
    elif best.version is not None and best.version > current:
        reason = f"{best.version} is out, {reason}; to take it set calico and calico_sha"
    line = chooser.book.line("calico", current)
    minor = chooser.kubernetes.minor_text
    if line is not None and line.tested and minor not in line.tested:
        reason += f"; its authors tested {line.line} with {', '.join(line.tested)}, not {minor}"
    return [ChosenVersion("calico", current, reason)]


def _of(text: str | None) -> ReleaseVersion | None:
    return version_of(text) if text else None
