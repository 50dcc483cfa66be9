"""``isobuilder demo``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FOLDER, App, AppCommand, human_size, plural, table
from isobuilder.cli.boot import milestone_table, refuse_failed

if TYPE_CHECKING:
    from isobuilder.demo.boot import BootTour
    from isobuilder.demo.tour import Tour
    from isobuilder.pipeline.build import Built
    from isobuilder.pipeline.lock import LockFile
    from isobuilder.pipeline.verify import Verification


@click.command(cls=AppCommand)
@click.option("--out", type=FOLDER, default="demo-out", show_default=True, help="Where files go.")
@click.option("--serve", is_flag=True, help="Only serve the upstream, until Ctrl-C, to try things.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With --serve: the port.")
@click.option(
    "--boot",
    is_flag=True,
    help="Make an ISO that starts machines instead, and start one in QEMU: some minutes, and "
    "Debian's mirrors are needed.",
)
@click.pass_obj
def demo(app: App, out: Path, serve: bool, port: int, boot: bool) -> None:
    """Try everything on an embedded upstream; needs no network.

    Starts a file server and a registry on loopback with small stand-ins for a Kubernetes release,
    then locks, plans, fetches, builds, verifies and registers with a simulator of Mold, and tells
    what it did and where the files are.

    With --boot it makes an OS payload of Debian, unless OUT or the user's store has one, takes
    containerd and runc from Debian's packages, builds and verifies an ISO with them, starts a
    machine from it and tells what that reached when. -v shows the whole console meanwhile.
    """
    from isobuilder.errors import UsageProblem

    if boot and serve:
        raise UsageProblem("--boot and --serve contradict each other")
    if serve:
        _serve(app, out, port)
    elif boot:
        _boot(app, out)
    else:
        _tour(app, out)


def _serve(app: App, out: Path, port: int) -> None:
    from isobuilder.demo.tour import embedded_upstream

    with embedded_upstream(out, port=port):
        click.echo(out / "config.yaml")
        app.say("serving; try: isobuilder build RECIPE --config CONFIG, and Ctrl-C to end")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def _tour(app: App, out: Path) -> None:
    from isobuilder.demo.tour import tour

    done = tour(out, progress=app.progress)
    cached = sum(1 for item in done.plan.items if item.missing == 0)
    _tell_lock(done.recipe, done.lock)
    click.echo(
        f"plan      {len(done.plan.items)} things, {cached} of them stored, "
        f"{human_size(done.plan.download)} to download"
    )
    _tell_iso(done.built, done.verification)
    click.echo(
        f"register  {plural(done.rehearsal.changes_at_first, 'call')} that changed a simulated "
        f"Mold; {done.rehearsal.changes_again or 'none'} when asked again\n"
    )
    click.echo(_registered(done))
    click.echo(
        "\nThe content is a stand-in: this ISO shows how isobuilder works and starts no cluster."
    )


def _registered(done: Tour) -> str:
    rows = [
        (
            entry.version.name,
            entry.version.semanticversion,
            entry.version.arch,
            row.zonename,
            entry.version.state,
            "Ready" if row.isready else row.status or "-",
        )
        for entry in done.rehearsal.entries
        for row in entry.rows
    ]
    return table(rows, ("NAME", "VERSION", "ARCH", "ZONE", "STATE", "ISO"))


def _boot(app: App, out: Path) -> None:
    from isobuilder.demo.boot import boot_tour
    from isobuilder.errors import EnvironmentProblem

    def listen(_name: str, line: str) -> None:
        if app.verbosity or "kiso: " in line:
            app.say(line)

    done = boot_tour(out, app.store, listener=listen, progress=app.progress)
    _tell_lock(done.recipe, done.lock)
    _tell_parts(done)
    _tell_iso(done.built, done.verification)
    click.echo(f"seed      {done.seed}\nconsole   {done.outcome.log}\n")
    click.echo(milestone_table([done.outcome]))
    refuse_failed([done.outcome])
    for line in done.said:
        click.echo(f"node says {line}")
    if done.unsaid:
        raise EnvironmentProblem(
            f"{done.outcome.name}: came up but did not say {' nor '.join(map(repr, done.unsaid))}",
            hint=f"read {done.outcome.log}",
        )
    click.echo(_BOOT_END.format(store=out / "store"))


_BOOT_END = """
Shown: a recipe became an ISO; a machine started from it without any network, checked it, installed
its container runtime, imported its images, did what cloud-init was told and ran a container.
Not shown: a cluster, because kubeadm, kubelet, kubectl and every image are stand-ins here. A real
one, where upstream or a mirror of it can be reached, begins with

  isobuilder build kubernetes-1.34.12.yaml --store {store}

and docs/booting-a-node.md tells how it goes on."""


def _tell_parts(done: BootTour) -> None:
    """Tell which parts are real, where they are from, and which are not."""
    payload, runtime = done.payload, done.runtime
    click.echo(
        f"payload   {payload.name} {payload.digest}\n"
        f"real      Linux {payload.kernel_version}, the root file system with cloud-init: "
        f"{payload.os}\n"
        f"real      containerd {runtime.containerd.version}, of the package "
        f"{runtime.containerd.package}\n"
        f"real      runc {runtime.runc.version}, of the package {runtime.runc.package}\n"
        f"stand-in  kubeadm, kubelet, kubectl, crictl, etcd, the CNI plugins, the manifests and "
        f"{plural(len(done.lock.lock.images), 'image')}"
    )


def _tell_lock(recipe: Path, lock: LockFile) -> None:
    click.echo(
        f"recipe    {recipe}\n"
        f"lock      {lock.path}: {len(lock.lock.files)} files, "
        f"{len(lock.lock.manifests)} manifests, {len(lock.lock.images)} images"
    )


def _tell_iso(built: Built, verification: Verification) -> None:
    from isobuilder.pipeline.compare import contents_of, summary

    found = summary(contents_of(built.iso))
    click.echo(
        f"iso       {built.iso}: {human_size(built.size)}, "
        f"{'unchanged' if built.reused else 'built'}\n"
        f"contents  {len(found['files'])} files of {found['facts']['product version']} "
        f"for {found['facts']['architecture']}"
    )
    for path in built.side_files:
        click.echo(f"beside it {path}")
    click.echo(
        f"verified  {', '.join(verification.checked)}: "
        f"{len(verification.findings) or 'no'} findings\n"
        f"digest    {built.digest}"
    )
