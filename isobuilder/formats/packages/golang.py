"""The modules that a Go program says it was built from.

Source: Go's ``runtime/debug`` (``BuildInfo.String``): lines of words between tabs.
"""

from __future__ import annotations

import re
from dataclasses import replace

from isobuilder.formats.packages.package import MAX_PACKAGES, Package, word

_RELEASE = re.compile(r"go([0-9][0-9A-Za-z.]*)")
_UNKNOWN = "(devel)"


def read_modules(go_version: str, text: str) -> list[Package]:
    """Return the main module, those it was built from as replaced, and Go's own library.

    A module that was replaced by a folder keeps its own name and version, as no other is known.
    Beyond ``MAX_PACKAGES`` lines nothing is taken.
    """
    found: list[Package] = []
    main: Package | None = None
    settings: dict[str, str] = {}
    for line in text.splitlines()[:MAX_PACKAGES]:
        key, *words = line.split("\t")
        if key == "mod" and words:
            main = _module(words)
        elif key == "dep" and words:
            found.append(_module(words))
        elif key == "=>" and found and words:
            found[-1] = _replaced(found[-1], _module(words))
        elif key == "build" and words:
            name, _, value = words[0].partition("=")
            settings.setdefault(name, value)
    if main is not None:
        found.insert(0, _known(main, settings))
    if release := _RELEASE.match(go_version):
        found.append(Package("golang", "stdlib", release[1], facts=(("go", word(go_version)),)))
    return found


def _module(words: list[str]) -> Package:
    path, version, total = (*words, "", "")[:3]
    facts = (("go-sum", word(total)),) if total.startswith("h1:") else ()
    return Package("golang", word(path), word(version), facts=facts)


def _replaced(old: Package, new: Package) -> Package:
    if not new.version:
        return replace(old, facts=(*old.facts, ("replaced-by", new.name)))
    return replace(new, facts=(*new.facts, ("replaces", f"{old.name}@{old.version}")))


def _known(main: Package, settings: dict[str, str]) -> Package:
    """Return the main module; one that was built from a working tree has the commit's version.

    That is the version that Go itself gives to a commit without a tag before it.
    """
    if main.version not in {"", _UNKNOWN}:
        return main
    commit, moment = settings.get("vcs.revision", ""), settings.get("vcs.time", "")
    digits = re.sub(r"\D", "", moment)
    if not re.fullmatch("[0-9a-f]{40}", commit) or len(digits) != 14:
        return replace(main, version=main.version or _UNKNOWN)
    return replace(main, version=f"v0.0.0-{digits}-{commit[:12]}")
