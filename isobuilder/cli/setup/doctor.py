"""``isobuilder doctor``."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from isobuilder import __version__
from isobuilder.cli.app import App, AppCommand, json_option
from isobuilder.cli.telling import table, tell, tell_text
from isobuilder.errors import EnvironmentProblem, IsobuilderError, UsageProblem

if TYPE_CHECKING:
    from isobuilder.machine.host import Ability


def _names(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [one.name for one in _abilities(App()) if one.name.startswith(begun)]


@click.command(cls=AppCommand)
@click.argument("names", metavar="[ABILITY]...", nargs=-1, shell_complete=_names)
@json_option
@click.pass_obj
def doctor(app: App, names: tuple[str, ...], as_json: bool) -> None:
    """Tell what this machine can do, and what to install for the rest.

    Nothing is installed and no network is asked. Each ABILITY that is named has to be here, else
    the exit code is 6; without a name only what every build needs has to be.
    """
    found = _abilities(app)
    known = {one.name: one for one in found}
    if unknown := [name for name in names if name not in known]:
        raise UsageProblem(f"no ability {unknown[0]!r}", hint=f"known: {', '.join(known)}")
    shown = [known[name] for name in names] or found
    if as_json:
        app.show_json(
            {
                "isobuilder": __version__,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "abilities": [_as_data(one) for one in shown],
            }
        )
    else:
        _show(shown)
    missing = [name for name in names or ("build",) if not known[name].here]
    if missing:
        raise EnvironmentProblem(f"this machine cannot do: {', '.join(missing)}")


def _abilities(app: App) -> list[Ability]:
    from dataclasses import replace

    from isobuilder.machine.host import Lack, abilities
    from isobuilder.store import default_root

    try:
        return abilities(app.store.root)
    except IsobuilderError as error:  # settings that are wrong are one more thing to tell
        first, *rest = abilities(default_root())
        lack = Lack(f"settings that can be read: {error}", remedy=error.hint)
        return [replace(first, lacks=(lack,)), *rest]


def _as_data(one: Ability) -> dict[str, object]:
    lacks = [
        {"what": lack.what, "package": lack.package, "extra": lack.extra, "remedy": lack.remedy}
        for lack in one.lacks
    ]
    return {
        "name": one.name,
        "does": one.does,
        "here": one.here,
        "lacks": lacks,
        "notes": list(one.notes),
    }


def _show(found: Iterable[Ability]) -> None:
    found = list(found)
    rows = [
        (
            one.name,
            "yes" if one.here else "no",
            one.does,
            ", ".join(lack.what for lack in one.lacks),
        )
        for one in found
    ]
    tell_text(table(rows, ("ABILITY", "HERE", "WHAT FOR", "LACKS")))
    lacks = [lack for one in found for lack in one.lacks]
    packages = sorted({lack.package for lack in lacks if lack.package})
    extras = sorted({lack.extra for lack in lacks if lack.extra})
    others = {lack.what: lack.remedy for lack in lacks if lack.remedy}
    notes = [(one.name, note) for one in found for note in one.notes]
    if packages or extras or others or notes:
        tell()
    for name, note in notes:
        tell(f"{name}: {note}")
    if packages:
        tell(f"on Debian or Ubuntu: apt-get install {' '.join(packages)}")
    if extras:
        tell(f"with pip: pip install 'isobuilder[{','.join(extras)}]'")
    for what, remedy in others.items():
        tell(f"{what}: {remedy}")
