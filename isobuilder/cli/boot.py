"""An ISO in virtual machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import FILE, FOLDER, NEW_FILE, App, AppCommand, WholeNumber, json_option
from isobuilder.cli.telling import table, tell_text
from isobuilder.errors import EnvironmentProblem, UsageProblem

if TYPE_CHECKING:
    from isobuilder.machine.qemu import BootOutcome, Machine


@click.command(cls=AppCommand)
@click.argument("iso", type=FILE)
@click.option(
    "--seed", type=FILE, multiple=True, help="cloud-init's configuration; one for each node."
)
@click.option(
    "--disc",
    type=FILE,
    multiple=True,
    help="Another ISO in every node, such as the next version's.",
)
@click.option("--nodes", type=WholeNumber(1, 16), help="Machines.  [default: one for each seed]")
@click.option(
    "--firmware",
    type=click.Choice(["bios", "uefi", "secureboot"]),
    help="What starts the ISO.  [default: bios, or uefi where the architecture has no BIOS]",
)
@click.option(
    "--as",
    "attachment",
    type=click.Choice(["cd", "disk", "usb"]),
    default="cd",
    show_default=True,
    help="What the ISO is to the machine.",
)
@click.option(
    "--until",
    default="cloud-init done",
    show_default=True,
    help="Milestone to stop at; 'off': the machine goes off by itself.",
)
@click.option(
    "--timeout", type=WholeNumber(1, 10**9), default=900, show_default=True, help="Seconds."
)
@click.option(
    "--memory",
    type=WholeNumber(64, 2**30),
    multiple=True,
    default=(3072,),
    show_default=True,
    help="MiB; given once for all nodes, or once for each.",
)
@click.option(
    "--cpus",
    type=WholeNumber(1, 255),
    default=2,
    show_default=True,
    help="Processors of each node.",
)
@click.option("--data", type=NEW_FILE, help="Disk image that keeps state; made when missing.")
@click.option(
    "--data-size",
    type=WholeNumber(64, 2**30),
    default=16384,
    show_default=True,
    help="MiB, when made.",
)
@click.option("--online", is_flag=True, help="Let the nodes reach what this machine reaches.")
@click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="auto uses KVM where the ISO's kernel really runs in it.",
)
@click.option("--logs", type=FOLDER, default="boot-logs", show_default=True, help="Console logs.")
@json_option
@click.pass_obj
def boot(
    app: App,
    /,
    iso: Path,
    nodes: int | None,
    until: str,
    timeout: int,
    data_size: int,
    accel: str,
    logs: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Start ISO in QEMU and tell what it reaches when.

    Several nodes share a private network. Without --online nothing outside can be reached.
    """
    from isobuilder.machine.qemu import check_milestone
    from isobuilder.pipeline.boot import try_boot

    machines = _machines(iso, nodes, **options)
    wanted = None if until == "off" else until
    check_milestone(wanted)
    logs.mkdir(parents=True, exist_ok=True)

    def listen(name: str, line: str) -> None:
        app.say(line if len(machines) == 1 else f"{name}: {line}")

    outcomes = try_boot(
        iso,
        machines,
        logs=logs,
        until=wanted,
        timeout=timeout,
        kvm={"auto": None, "kvm": True, "tcg": False}[accel],
        data_size=data_size,
        listener=listen,
        progress=app.progress,
    )
    _tell(app, outcomes, as_json=as_json)
    for outcome in outcomes:
        if wanted is None and not outcome.ended:
            raise EnvironmentProblem(
                f"{outcome.name}: still on after {timeout} s", hint=f"read {outcome.log}"
            )


def _machines(
    iso: Path,
    nodes: int | None,
    *,
    seed: tuple[Path, ...],
    memory: tuple[int, ...],
    data: Path | None,
    disc: tuple[Path, ...],
    cpus: int,
    **same: Any,
) -> list[Machine]:
    """Return the machines, if the options that are given for each fit how many they are."""
    from isobuilder.machine.qemu import Machine

    count = nodes or max(1, len(seed))
    if len(seed) > count:
        raise UsageProblem(f"{len(seed)} seeds for {count} nodes")
    if data is not None and count > 1:
        raise UsageProblem("--data is for one node")
    if len(memory) not in {1, count}:
        raise UsageProblem(f"--memory given {len(memory)} times for {count} nodes")
    return [
        Machine(
            name=f"node{number}",
            iso=iso,
            memory=memory[(number - 1) % len(memory)],
            processors=cpus,
            seed=seed[number - 1] if number <= len(seed) else None,
            discs=disc,
            data=data,
            number=number,
            **same,
        )
        for number in range(1, count + 1)
    ]


def _tell(app: App, outcomes: Sequence[BootOutcome], *, as_json: bool) -> None:
    """Print how far each machine came; one that failed is an error."""
    if as_json:
        app.show_json(
            [
                {
                    "name": outcome.name,
                    "reached": outcome.reached,
                    "memory_mib": outcome.memory,
                    "errors": outcome.errors,
                    "log": str(outcome.log),
                }
                for outcome in outcomes
            ]
        )
    else:
        tell_text(_milestone_table(outcomes))
    _refuse_failed(outcomes)


def _milestone_table(outcomes: Sequence[BootOutcome]) -> str:
    """Return what each machine reached when, and the memory it then used."""
    rows = [
        (outcome.name, milestone, f"{seconds:.1f} s", _memory(outcome.memory.get(milestone)))
        for outcome in outcomes
        for milestone, seconds in outcome.reached.items()
    ]
    return table(rows, ("NODE", "MILESTONE", "AFTER", "MEMORY"))


def _refuse_failed(outcomes: Sequence[BootOutcome]) -> None:
    """Raise an ``EnvironmentProblem`` for the first machine that did not come as far as asked."""
    for outcome in outcomes:
        if outcome.failed:
            how = "went off and" if outcome.ended else "was stopped and"
            fact = "; ".join(outcome.errors) or f"{how} did not reach {outcome.wanted!r}"
            hint = "; ".join(outcome.hints) or f"read {outcome.log}"
            raise EnvironmentProblem(f"{outcome.name}: {fact}", hint=hint)


def _memory(mebibytes: int | None) -> str:
    return "" if mebibytes is None else f"{mebibytes} MiB"
