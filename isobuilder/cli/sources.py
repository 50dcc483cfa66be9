"""What a person names on the command line: recipes and locks as files, shipped ones by version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

from isobuilder.cli.app import FILE, load_lock_file, refuse_iso
from isobuilder.model.architecture import ARCHITECTURES

if TYPE_CHECKING:
    from isobuilder.cli.app import App
    from isobuilder.formats.kube import KubeVersion
    from isobuilder.model.lock import Lock, LockedBoot
    from isobuilder.model.recipe import BootWish, IsoName, Recipe
    from isobuilder.store import Store


@dataclass(frozen=True, slots=True)
class BuildSource:
    """A recipe or a lock, and how the person called it."""

    path: Path
    called: str
    shipped: bool = False  # named by version: its own locks are beside it, new ones go elsewhere

    @property
    def is_recipe(self) -> bool:
        """Whether it is a recipe by its name, and no lock."""
        return self.path.suffix != ".json"

    def own_lock(self, architecture: str) -> Path | None:
        """Return where a new lock of a shipped recipe goes: the current folder."""
        from isobuilder.model.lock import lock_name

        if not self.shipped:
            return None
        return Path(lock_name(self.recipe(architecture).kubernetes, architecture))

    def recipe(self, architecture: str) -> Recipe:
        """Return the recipe for one architecture."""
        from isobuilder.model.loading import load_recipe

        return load_recipe(self.path, architecture)

    def lock(self, architecture: str) -> Lock | None:
        """Return the lock of the recipe; None if there is none yet.

        Raises:
            InputError: there is one that does not answer the recipe.
        """
        from isobuilder.pipeline.lock import find_lock

        own = self.own_lock(architecture)
        found = find_lock(self.path, architecture, own=own, called=self.called)
        return found.lock if found else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One ISO that is asked for: by its lock, or by a recipe that has none yet."""

    source: BuildSource
    architecture: str
    lock: Lock | None

    @property
    def kubernetes(self) -> KubeVersion:
        """Its version."""
        return (self.lock or self.source.recipe(self.architecture)).kubernetes


class _SourceType(click.ParamType):  # type: ignore[type-arg]
    """A file that is there, or the version of a recipe that is shipped."""

    name = "source"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> BuildSource:
        """Return what ``value`` names."""
        from isobuilder.pipeline.shipped import looks_like_version, shipped_version

        if isinstance(value, BuildSource):
            return value
        text = str(value)
        if looks_like_version(text) and not Path(text).exists():
            found = shipped_version(text)
            return BuildSource(found.recipe, str(found.version), shipped=True)
        path = Path(FILE.convert(value, param, ctx))
        return BuildSource(path, str(path))

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Offer the versions that are shipped if one is begun, else files: bash takes one kind."""
        versions = _version_items(incomplete) if incomplete else []
        return versions or [CompletionItem(incomplete, type="file")]


SOURCE = _SourceType()

arch_option = click.option(
    "--arch", type=click.Choice(list(ARCHITECTURES)), help="Only this architecture."
)


def _version_items(incomplete: str) -> list[CompletionItem]:
    """Return the versions that are shipped and begin so."""
    from isobuilder.pipeline.shipped import shipped

    versions = [str(item.version) for item in shipped()]
    return [CompletionItem(text) for text in versions if text.startswith(incomplete)]


def file_of(source: BuildSource) -> Path:
    """Return the file to look at; of a version that is shipped its lock, if it has one."""
    from isobuilder.pipeline.shipped import shipped_version

    if not source.shipped:
        return source.path
    locks = shipped_version(source.called).locks
    return next(iter(locks.values()), source.path)


def wanted(source: BuildSource, architecture: str | None) -> tuple[list[Wanted], list[str]]:
    """Return the ISOs that SOURCE means, and the architectures that are left out.

    Without ``architecture`` a recipe that has locks means those; one that has none means all of its
    architectures.

    Raises:
        InputError: it is neither recipe nor lock, or a lock does not answer its recipe.
    """
    from isobuilder.errors import InputError
    from isobuilder.model.loading import architectures_of

    refuse_iso(source.path, "a recipe or a lock")
    if not source.is_recipe:
        lock = load_lock_file(source.path)
        if architecture is not None and lock.architecture != architecture:
            raise InputError(
                f"{source.called}: is for {lock.architecture}, --arch asks for {architecture}"
            )
        return [Wanted(source, lock.architecture, lock)], []
    names = [architecture] if architecture else list(architectures_of(source.path))
    found = [Wanted(source, name, source.lock(name)) for name in names]
    if not any(item.lock for item in found):
        return found, []
    return (
        [item for item in found if item.lock],
        [item.architecture for item in found if item.lock is None],
    )


def locks_of(source: BuildSource, architecture: str | None) -> tuple[list[Lock], list[str]]:
    """Return the locks that SOURCE means, and the architectures that have none.

    Raises:
        InputError: it has none at all, or as ``wanted``.
    """
    found, left_out = wanted(source, architecture)
    return [item.lock or _unlocked(item) for item in found], left_out


def lock_file_of(source: BuildSource, architecture: str) -> Path | None:
    """Return the file of a lock that SOURCE means; None if it is one that is shipped."""
    from isobuilder.pipeline.lock import lock_path

    if not source.is_recipe:
        return source.path
    own = source.own_lock(architecture)
    if own is not None:
        return own if own.exists() else None
    return lock_path(source.path, source.recipe(architecture), architecture)


def _unlocked(item: Wanted) -> Lock:
    raise no_lock(item.source, item.architecture)


def tell_end_of_life(app: App, versions: Iterable[KubeVersion]) -> None:
    """Warn of minors that upstream no longer mends or soon will not, each once."""
    from datetime import UTC, datetime

    from isobuilder.rules.support import end_notice

    today = datetime.now(UTC).date()
    for notice in dict.fromkeys(end_notice(str(version), today) for version in versions):
        if notice is not None:
            app.say(f"warning: {notice}")


def no_lock(source: BuildSource, architecture: str) -> Exception:
    """Return the error that says a recipe has no lock, and how to make it."""
    from isobuilder.errors import InputError

    return InputError(
        f"{source.called}: no lock for {architecture}",
        hint=f"run isobuilder lock {source.called} --arch {architecture}",
    )


def name_of(item: Wanted, store: Store) -> IsoName:
    """Return what the ISO will be called, before anything is asked of anybody."""
    from isobuilder.machine.payload import has_payload
    from isobuilder.model.recipe import IsoName

    def is_made(wish: BootWish | LockedBoot | Literal[False] | None) -> bool:
        if not wish:
            return False
        name = f"{wish.os}-{wish.kernel}"
        return wish.payload is not None or has_payload(store, name, architecture=item.architecture)

    if item.lock is not None:
        boot = item.lock.boot
        return replace(item.lock.iso_name, boots=is_made(boot))
    recipe = item.source.recipe(item.architecture)
    return IsoName(
        kubernetes=recipe.kubernetes,
        profile=recipe.profile,
        variant=recipe.variant,
        boots=is_made(recipe.boot),
        architecture=item.architecture,
        revision=recipe.revision,
    )
