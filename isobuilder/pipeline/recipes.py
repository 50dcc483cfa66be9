"""Recipes before anything is locked: check them, and take over those of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isobuilder.compat.ablestack import load_imported, lock_from, recipe_data
from isobuilder.compat.cloudstack import SCRIPT, call_data, read_call
from isobuilder.documents.merge import NAMED
from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.documents.nodes import plain
from isobuilder.documents.plain_yaml import read_yaml, yaml_map
from isobuilder.documents.text import yaml_text
from isobuilder.errors import InputError
from isobuilder.files import holds, write_whole
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.base import canonical_json
from isobuilder.model.loading import builtin_recipes, load_lock, load_recipe, read_recipe
from isobuilder.model.lock import answers
from isobuilder.model.profile import DEFAULT_PROFILE, PROFILES, ProfileName
from isobuilder.model.recipe import Recipe
from isobuilder.model.validation import build
from isobuilder.pipeline.fit import unfit_parts
from isobuilder.pipeline.lock import changed_beside, lock_path
from isobuilder.rules.book import RuleBook
from isobuilder.rules.fit import Unfit
from isobuilder.rules.pairings import core_tags
from isobuilder.sources.rendering.kustomization import read_kustomization

_SCHEMA_LINE = "# yaml-language-server: $schema={}\n"


@dataclass(slots=True)
class Checked:
    """What a check of one recipe file found, over all its architectures."""

    path: Path
    architectures: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()  # the architectures that have a lock which answers the recipe
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)
    unfit: list[Unfit] = field(default_factory=list)  # of parts that do not fit together

    @property
    def cannot_work(self) -> bool:
        """Whether parts of it cannot work together."""
        return any(one.level == "error" for one in self.unfit)


def check_recipe(path: Path, rules: RuleBook | None = None) -> Checked:
    """Return all that is wrong or odd with a recipe, for every architecture it is for.

    A lock beside it that does not answer it is odd, not wrong: that is so while one edits.
    """
    checked = Checked(path)
    try:
        first = read_recipe(path)
        checked.architectures = first.recipe.architectures
        checked.warnings += first.warnings
        for architecture in checked.architectures:
            recipe = read_recipe(path, architecture).recipe
            checked.unfit += [one for one in unfit_parts(recipe, rules) if one not in checked.unfit]
            _check_beside(checked, recipe)
            _check_lock(checked, recipe, architecture)
    except InputErrors as error:
        checked.mistakes += error.mistakes
    except InputError as error:
        fact = str(error).removeprefix(f"{path}: ")
        checked.mistakes.append(Mistake(Mark(str(path)), "", fact, error.hint))
    return checked


def _check_beside(checked: Checked, recipe: Recipe) -> None:
    """Note what the recipe names beside itself and is not there."""
    folder = checked.path.parent
    wanted = {f"files[{file.name}].url": file.url for file in recipe.files}
    for entry in recipe.manifests:
        where = f"manifests[{entry.name}]"
        wanted[f"{where}.url"] = entry.url or ""
        if entry.chart is not None and entry.chart.values is not None:
            wanted[f"{where}.chart.values"] = f"file:{entry.chart.values}"
        if entry.kustomize is not None:
            wanted[f"{where}.kustomize"] = f"file:{entry.kustomize}"
        if entry.kustomize is not None and (folder / entry.kustomize).is_dir():
            _check_kustomization(checked, folder, entry.kustomize)
    for where, url in wanted.items():
        path = folder / url.removeprefix("file:")
        if url.startswith("file:") and not path.exists():
            mistake = Mistake(Mark(str(checked.path)), where, f"there is no {path}")
            if mistake not in checked.mistakes:
                checked.mistakes.append(mistake)


def _check_kustomization(checked: Checked, folder: Path, name: str) -> None:
    """Note what a kustomization names and may not, once for all architectures."""
    try:
        read_kustomization(folder, name)
    except InputErrors as error:
        checked.mistakes += [one for one in error.mistakes if one not in checked.mistakes]


def _check_lock(checked: Checked, recipe: Recipe, architecture: str) -> None:
    path = lock_path(checked.path, recipe, architecture)
    if not path.exists():
        return
    try:
        lock = load_lock(path)
        differences = [*answers(lock, recipe), *changed_beside(lock, checked.path.parent)]
    except InputErrors as error:
        checked.warnings += error.mistakes
        return
    hint = f"run isobuilder lock {checked.path} --arch {architecture}"
    checked.warnings += [
        Mistake(Mark(str(path)), "", f"does not answer the recipe: {line}", hint)
        for line in differences
    ]
    if not differences:
        checked.locked += (architecture,)


def import_recipe(source: Path, *, recipe: Path | None, out: Path) -> tuple[Path, ...]:
    """Write what a recipe of the present builder says, and return the files written.

    With ``recipe`` only its lock, which must ask for the same; without, a recipe and its lock into
    the folder ``out``.

    Raises:
        InputErrors: the file is not of that form, or differs from ``recipe``.
        InputError: a recipe is there already.
    """
    imported = load_imported(source)
    written: tuple[Path, ...] = ()
    if recipe is None:
        data = recipe_data(imported, str(source))
        text = _SCHEMA_LINE.format("recipe.schema.json") + yaml_text(data)
        recipe = out / f"kubernetes-{imported.kubernetes_version}.yaml"
        build(yaml_map(text.encode(), str(recipe)), Recipe)
        hint = f"give --recipe {recipe} to write only its lock, or choose another --out"
        _refuse_other(recipe, text, hint)
        write_whole(recipe, text.encode())
        written = (recipe,)
    loaded = load_recipe(recipe, imported.architecture)
    path = lock_path(recipe, loaded, imported.architecture)
    previous = load_lock(path) if path.exists() else None
    lock = lock_from(imported, loaded, str(source), previous)
    write_whole(path, lock.to_bytes())
    return (*written, path)


_LEFT_OUT = (
    "# The script takes autoscaler.yaml and provider.yaml from branches, which nobody can lock:\n"
    "# add them under manifests, with the address of a release or a commit. Newer ones also bring\n"
    "# snapshot-crds.yaml and manifest.yaml of a CSI driver.\n"
)
_CHOSEN = (
    "# The script takes autoscaler.yaml and provider.yaml from branches; these are of the commits\n"
    "# that our recipes have. Some also bring snapshot-crds.yaml and manifest.yaml of a driver.\n"
)


def import_call(words: Sequence[str], *, out: Path) -> Path:
    """Write the recipe that gives what a call of CloudStack's script gives, and return its path.

    Raises:
        InputErrors: arguments that are none of the script's, or that nobody can lock.
        InputError: a recipe is there already.
    """
    place = " ".join(words)[:400].translate({10: " ", 13: " "})
    call = read_call(words, SCRIPT)
    profile: ProfileName = DEFAULT_PROFILE
    known: dict[str, str] = {}
    if call.headlamp is None:
        profile = next(name for name, each in PROFILES.items() if each.cloud == "cloudstack")
    else:
        variables = plain(read_yaml(_nearest_shipped(call.kubernetes)))["vars"]
        known = {k: v for k, v in variables.items() if k.startswith(("autoscaler", "etcd"))}
        if (tags := core_tags(call.kubernetes)) is not None:
            known["etcd"] = tags.etcd.partition("-")[0]
    note = _CHOSEN if known else _LEFT_OUT
    text = f"# Made from: {place}\n{note}{yaml_text(call_data(call, profile, known))}"
    recipe = out / f"kubernetes-{call.kubernetes}.yaml"
    _refuse_other(recipe, text, "choose another --out")
    write_whole(recipe, text.encode())
    read_recipe(recipe, call.architecture)
    return recipe


def _refuse_other(recipe: Path, text: str, hint: str) -> None:
    if recipe.exists() and not holds(recipe, text.encode()):
        raise InputError(f"{recipe}: is there already, with other content", hint=hint)


def _nearest_shipped(wanted: KubeVersion) -> Path:
    """Return the shipped recipe of the same minor or the nearest one, the newest patch of it."""

    def distance(path: Path) -> tuple[int, int]:
        version = KubeVersion(path.stem.removeprefix("kubernetes-"))
        return abs(version.minor - wanted.minor), -version.patch

    return min(builtin_recipes().glob("kubernetes-*.yaml"), key=distance)


def expanded_text(recipe: Recipe) -> str:
    """Return a recipe as YAML with everything it extends and every template expanded."""
    return yaml_text(recipe.to_data())


_TEMPLATE = {"type": "string", "pattern": r"\{[{%#]"}
_ENTRIES = {
    "FileEntry": NAMED["files"],
    "ManifestEntry": NAMED["manifests"],
    "Render": NAMED["render"],
}
_REMOVE = {"const": True, "description": "Drop the entry of this name that is extended."}


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of recipe files."""
    schema = Recipe.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    for name, definition in definitions.items():
        _loosen(definition)
        if name in _ENTRIES:
            definition["required"] = [_ENTRIES[name]]
            definition["properties"]["remove"] = _REMOVE
        if name == "Component":
            definition["properties"]["remove"] = _REMOVE
    properties = schema["properties"]
    properties["extends"] = {
        "type": "string",
        "description": "The recipe file below this one: beside it, or among those shipped.",
    }
    schema["required"] = ["schema"]
    schema["title"] = "isobuilder recipe"
    schema["description"] = "What should be on a Kubernetes ISO; see docs/recipes.md."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_bytes() -> bytes:
    """Return the text that is shipped as ``recipes/recipe.schema.json``."""
    return canonical_json(recipe_schema())


def _loosen(definition: dict[str, Any]) -> None:
    """Let keys be missing and values be templates."""
    definition.pop("required", None)
    for name, value in definition.get("properties", {}).items():
        definition["properties"][name] = _expand_values(value)


def _expand_values(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that may also be a template, where its form would forbid one."""
    if value.get("type") == "string" and ("pattern" in value or "enum" in value):
        return {"anyOf": [value, _TEMPLATE]}
    if "anyOf" in value:
        value["anyOf"] = [_expand_values(part) for part in value["anyOf"]]
    return value
