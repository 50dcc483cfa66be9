"""Recipe files -> one ``Recipe``: what a file extends, what its templates mean, what must hold.

In order: read the file and all it extends; merge them; expand the templates, value by value, so
that a value never changes the structure; check the format; check the profile's contract. Places in
messages are those of the file a value came from.
"""

from __future__ import annotations

import os
import re
from collections import ChainMap
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from isobuilder.documents.merge import merged
from isobuilder.documents.mistakes import SHOWN, InputErrors, Mark, Mistake, nearest
from isobuilder.documents.nodes import Items, Map, Node, Pair, Scalar, path_text
from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.errors import InputError
from isobuilder.files import below
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.architecture import ARCHITECTURES, DEFAULT
from isobuilder.model.profile_checks import check_profile
from isobuilder.model.recipe import Recipe
from isobuilder.model.validation import check

_MAX_CHAIN = 8
_WORD = re.compile(r"[A-Za-z_]\w*")
_TEXTS_OF_OTHERS = ("images", "ignore")  # perhaps templates, which are not ours to expand
_FIXED = frozenset({"schema", "kubernetes", "architectures", "profile", "extends", "released"})
_NAMES = frozenset({"kubernetes", "kubernetes_minor", "arch", "name", "path", "url"})


@dataclass(frozen=True, slots=True)
class ReadRecipe:
    """A recipe for one architecture, and what is odd about it without being wrong."""

    recipe: Recipe
    architecture: str
    warnings: tuple[Mistake, ...]


def builtin_recipes() -> Path:
    """Return the folder of the recipes we ship: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def read_recipe(path: Path, architecture: str | None = None) -> ReadRecipe:
    """Return the recipe in ``path``, with warnings.

    Raises:
        InputErrors: all mistakes of the file and of what it extends.
        InputError: the file cannot be read, or is not for this architecture.
    """
    tree, mistakes = _merged_file(path, (), path.parent)
    chosen = _architecture(tree, path, architecture)
    expander = _Expander(tree, chosen)
    tree = expander.tree()
    doubled = _doubled(tree)
    mistakes += expander.mistakes + doubled
    recipe, wrong = check(tree, Recipe)
    # What a broken template left behind is not a second mistake, nor is what was said better here.
    mistakes += [
        one for one in wrong if one.mark not in expander.unsure and (one.path or not doubled)
    ]
    warnings: list[Mistake] = expander.unused()
    if recipe is not None and not mistakes:
        mistakes, short = check_profile(recipe, chosen, tree)
        warnings += short
    if recipe is None or mistakes:
        raise InputErrors(_in_order(mistakes, path))
    return ReadRecipe(recipe, chosen, tuple(warnings))


def _in_order(mistakes: list[Mistake], path: Path) -> list[Mistake]:
    """Return the mistakes without repetition, those of the file itself first, top to bottom."""
    own = str(path)
    return sorted(
        dict.fromkeys(mistakes),
        key=lambda one: (
            one.mark.file != own,
            one.mark.file,
            one.mark.line or 0,
            one.mark.column or 0,
        ),
    )


def _merged_file(path: Path, chain: tuple[Path, ...], author: Path) -> tuple[Map, list[Mistake]]:
    """Return ``path`` and all it extends, which lies in the folder ``author`` or is shipped."""
    if path.name.endswith(".lock.json"):
        raise InputError(
            f"{path}: expected a recipe, got a lock", hint="name the recipe that the lock answers"
        )
    tree = read_yaml(path)
    entry = tree.entries.get("extends")
    if entry is None:
        return merged(None, tree)
    mark = entry.value.mark
    wanted = tree.text("extends")
    if wanted is None:
        raise InputErrors([Mistake(mark, "extends", "expected the path of a recipe file")])
    chain = (*chain, path.resolve())
    base = _find(wanted, path, author)
    if base is None and _is_file(path.parent / wanted):
        fact = f"{wanted!r} is not below {author}, the folder of the recipe"
        hint = "a recipe that somebody sends reads nothing else of this machine; copy the file"
        raise InputErrors([Mistake(mark, "extends", fact, hint)])
    if base is None:
        known = sorted(str(p.relative_to(builtin_recipes())) for p in _base_files())
        fact = f"no file {wanted!r} beside {path} nor among the recipes we ship"
        raise InputErrors([Mistake(mark, "extends", fact, nearest(wanted, known))])
    if base.resolve() in chain:
        names = " -> ".join(step.name for step in (*chain, base))
        raise InputErrors([Mistake(mark, "extends", f"the files extend each other: {names}")])
    if len(chain) >= _MAX_CHAIN:
        fact = f"more than {_MAX_CHAIN} files extend each other"
        raise InputErrors([Mistake(mark, "extends", fact)])
    lower, earlier = _merged_file(base, chain, author)
    entries = {key: value for key, value in tree.entries.items() if key != "extends"}
    both, mistakes = merged(lower, Map(entries, tree.mark))
    return both, earlier + mistakes


def _base_files() -> Iterator[Path]:
    return (builtin_recipes() / "base").glob("*.yaml")


def _find(wanted: str, path: Path, author: Path) -> Path | None:
    for start in (path.parent, builtin_recipes()):
        found = Path(os.path.normpath(start / wanted))
        tops = (author, builtin_recipes())
        if _is_file(found) and any(below(top, str(found.absolute())) for top in tops):
            return found
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for one
        return False


def _architecture(tree: Map, path: Path, wanted: str | None) -> str:
    listed = tree.get("architectures")
    found: list[str] = []
    if isinstance(listed, Items):
        found = [str(item.value) for item in listed.items if isinstance(item, Scalar)]
    if wanted is None:
        return found[0] if found and found[0] in ARCHITECTURES else DEFAULT
    if found and wanted not in found:
        raise InputError(
            f"{path}: this recipe is for {', '.join(found)}, asked for {wanted}",
            hint=f"add {wanted} to its architectures, or choose another --arch",
        )
    return wanted


def _doubled(tree: Map) -> list[Mistake]:
    """Return what two entries may not share: a name within files and manifests, a path anywhere.

    Paths that differ only in case are the same: nodes and ISO 9660 may fold case.
    """
    mistakes: list[Mistake] = []
    seen: dict[tuple[str, str], Map] = {}
    for section in ("files", "manifests", "render"):
        items = tree.get(section)
        for item in items.items if isinstance(items, Items) else ():
            for key in ("name", "path"):
                text = item.text(key) if isinstance(item, Map) else None
                if not isinstance(item, Map) or text is None:
                    continue
                first = seen.setdefault((key, text.lower()), item)
                if first is not item:
                    fact = f"two entries with the {key} {text}, the other at {first.mark}"
                    mistakes.append(Mistake(item.entries[key].mark, section, fact))
    return mistakes


class _Unsure(str):
    """A value that a mistake left open; what is made with it is not judged."""

    __slots__ = ()


class _Expander:
    """Expands the templates of a merged recipe; collects what is wrong with them."""

    def __init__(self, tree: Map, architecture: str) -> None:
        self.mistakes: list[Mistake] = []
        self.unsure: set[Mark] = set()  # the places of values that an earlier mistake spoiled
        self._tree = tree
        self._words: set[str] = set()  # of all templates
        version = tree.text("kubernetes")
        minor = _minor(version) if version is not None else None
        self._values: dict[str, str] = {
            "arch": architecture,
            "kubernetes": version if version and minor else _Unsure("0.0.0"),
            "kubernetes_minor": minor or _Unsure("0.0"),
        }

    def tree(self) -> Map:
        """Return the recipe with every template expanded; broken ones stay as they are."""
        entries = dict(self._tree.entries)
        variables = entries.get("vars")
        if variables is not None:
            expanded = self._variables(variables.value)
            entries["vars"] = Pair(variables.mark, expanded)
        for key, entry in entries.items():
            if key not in _FIXED and key != "vars":
                entries[key] = Pair(entry.mark, self._node(entry.value, self._values, (key,)))
        return Map(entries, self._tree.mark)

    def unused(self) -> list[Mistake]:
        """Return the variables that no template names, which are often mistyped ones."""
        variables = self._tree.get("vars")
        if not isinstance(variables, Map):
            return []
        return [
            Mistake(
                entry.mark,
                f"vars.{name}",
                "no template uses it",
                "leave it out, or correct its name",
            )
            for name, entry in variables.entries.items()
            if name not in self._words
        ]

    def _variables(self, node: Node) -> Node:
        """Expand ``vars``, which see the version and architecture but not each other."""
        if not isinstance(node, Map):
            return node
        for name, entry in node.entries.items():
            if name in _NAMES:
                fact = f"the name {name!r} has a meaning of its own in templates"
                self.mistakes.append(Mistake(entry.mark, "vars", fact, "choose another name"))
            elif not name.isidentifier():
                fact = f"the name {name!r} cannot be used in a template"
                hint = "use letters, digits and _"
                self.mistakes.append(Mistake(entry.mark, "vars", fact, hint))
        expanded = self._node(node, self._values, ("vars",))
        if isinstance(expanded, Map):
            for name, entry in expanded.entries.items():
                self._values.setdefault(name, self._as_value(entry.value))
        return expanded

    def _as_value(self, node: Node) -> str:
        """Return what a name stands for in templates."""
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return _Unsure(node.value) if node.mark in self.unsure else node.value
        return _Unsure("0")  # its type is a mistake of its own

    def _node(
        self, node: Node, values: MutableMapping[str, str], path: tuple[str | int, ...]
    ) -> Node:
        if path == _TEXTS_OF_OTHERS:
            return node
        if isinstance(node, Items):
            items = (self._node(item, values, (*path, i)) for i, item in enumerate(node.items))
            return Items(tuple(items), node.mark)
        if isinstance(node, Map):
            return self._map(node, values, path)
        return self._scalar(node, values, path)

    def _map(self, node: Map, values: MutableMapping[str, str], path: tuple[str | int, ...]) -> Map:
        """Expand an entry; those of a list of entries also see their own name, path and url."""
        entries = dict(node.entries)
        in_list = bool(path) and isinstance(path[-1], int)
        first = [key for key in ("name", "path", "url") if in_list and key in entries]
        own = ChainMap({}, values) if first else values
        for key in [*first, *(key for key in entries if key not in first)]:
            value = self._node(entries[key].value, own, (*path, key))
            entries[key] = Pair(entries[key].mark, value)
            if key in first:
                own[key] = self._as_value(value)
        return Map(entries, node.mark)

    def _scalar(
        self, node: Scalar, values: MutableMapping[str, str], path: tuple[str | int, ...]
    ) -> Scalar:
        # Late, with all of Jinja2: whoever has a lock expands nothing.
        from isobuilder.documents.template import TemplateProblem, expand, is_template

        if not isinstance(node.value, str) or not is_template(node.value):
            return node
        self._words.update(_WORD.findall(node.value))
        try:
            suggest = len(self.mistakes) < SHOWN
            text = expand(node.value, values, suggest=suggest)
        except TemplateProblem as problem:
            where = path_text(self._tree, path)
            self.mistakes.append(Mistake(node.mark, where, str(problem), problem.hint))
            self.unsure.add(node.mark)
            return node
        if any(isinstance(values.get(word), _Unsure) for word in _WORD.findall(node.value)):
            self.unsure.add(node.mark)
        return Scalar(text, text, node.mark, quoted=True)


def _minor(version: str) -> str | None:
    try:
        return KubeVersion(version).minor_text
    except ValueError:
        return None
