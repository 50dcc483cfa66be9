"""``isobuilder demo``."""

from __future__ import annotations

import contextlib
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FOLDER, App, AppCommand, WholeNumber, plural
from isobuilder.cli.telling import table, tell_path, tell_text
from isobuilder.model.architecture import DEFAULT
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.demo.tour import Tour
    from isobuilder.pipeline.build import Built
    from isobuilder.pipeline.lock import LockFile
    from isobuilder.pipeline.verify import Verification


@click.command(cls=AppCommand)
@click.option("--out", type=FOLDER, default="demo-out", show_default=True, help="Where files go.")
@click.option("--serve", is_flag=True, help="Only serve the upstream, until Ctrl-C, to try things.")
@click.option("--port", type=WholeNumber(0, 65535), default=0, help="With --serve: the port.")
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

    With --boot it runs, and shows, the commands by which a user gets there: os build, unless the
    store has an OS payload, build, verify, and boot, which starts a machine from the ISO.
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
        tell_path(out / "config.yaml")
        app.say("serving; try: isobuilder build RECIPE --config CONFIG, and Ctrl-C to end")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def _tour(app: App, out: Path) -> None:
    from isobuilder.demo.tour import tour

    done = tour(out, progress=app.progress)
    cached = sum(1 for item in done.plan.items if item.missing == 0)
    _tell_lock(done.recipe, done.lock)
    tell_text(
        f"plan      {len(done.plan.items)} things, {cached} of them stored, "
        f"{human_size(done.plan.download)} to download"
    )
    _tell_iso(done.built, done.verification)
    tell_text(
        f"register  {plural(done.rehearsal.changes_at_first, 'call')} that changed a simulated "
        f"Mold; {done.rehearsal.changes_again or 'none'} when asked again\n"
    )
    tell_text(_registered(done))
    tell_text(
        "\nThe content is a stand-in: this ISO shows how isobuilder works and starts no cluster."
    )


def _registered(done: Tour) -> str:
    rows = [
        (
            entry.version.name,
            entry.version.semanticversion,
            entry.version.assumed_arch,
            row.zonename,
            entry.version.state,
            "Ready" if row.isready else row.status or "-",
        )
        for entry in done.rehearsal.entries
        for row in entry.rows
    ]
    return table(rows, ("NAME", "VERSION", "ARCH", "ZONE", "STATE", "ISO"))


def _boot(app: App, out: Path) -> None:
    from isobuilder.demo.content import KUBERNETES
    from isobuilder.demo.tour import embedded_upstream
    from isobuilder.machine.payload import has_payload
    from isobuilder.run import find_program

    find_program("qemu-system-x86_64")  # which is needed only after some minutes
    if not has_payload(app.store, _OS, architecture=DEFAULT):
        _as_a_user_would(app, "os", "build")
    with embedded_upstream(out):
        recipe = out / f"kubernetes-{KUBERNETES}.yaml"
        settings = ("--config", out / "config.yaml", "--arch", DEFAULT)
        _as_a_user_would(app, "build", recipe, *settings, "--boot", _OS, "--out", out)
    iso = out / f"kubernetes-v{KUBERNETES}-mold-cks.boot-amd64-r1.iso"
    _as_a_user_would(app, "verify", iso, "--lock", iso.with_suffix(".lock.json"))
    machine = ("--memory", "2048", "--timeout", "1800", "--until", _UNTIL)
    _as_a_user_would(app, "boot", iso, *machine, "--logs", out / "boot-logs")
    tell_text(_BOOT_END)


def _as_a_user_would(app: App, *words: str | Path) -> None:
    """Show a command line and run it; when it fails, so do we."""
    context = click.get_current_context()
    argv = ["--store", app.store.root, "--progress", app.progress_style, *words]
    argv += ["-q"] * app.quiet + ["-v"] * app.verbosity
    line = [str(word) for word in argv]
    app.say(f"$ isobuilder {shlex.join(line)}")
    root = context.find_root().command
    if code := root.main(line, prog_name="isobuilder", standalone_mode=False):
        context.exit(code)


_OS = "debian-13-cloud"
_UNTIL = "programs installed"  # what comes after that needs a container runtime that is none here
_BOOT_END = """
Shown: a recipe became an ISO; a machine started from it without any network, checked it and put
its programs in place. Not shown: images and a cluster, because all of the ISO but its operating
system is a stand-in. A real one, where upstream or a mirror of it can be reached, begins with

  isobuilder build kubernetes-1.34.12.yaml

and docs/booting-a-node.md tells how it goes on."""


def _tell_lock(recipe: Path, lock: LockFile) -> None:
    tell_text(
        f"recipe    {recipe}\n"
        f"lock      {lock.path}: {len(lock.lock.files)} files, "
        f"{len(lock.lock.manifests)} manifests, {len(lock.lock.images)} images"
    )


def _tell_iso(built: Built, verification: Verification) -> None:
    from isobuilder.pipeline.compare import contents_of, summary

    found = summary(contents_of(built.iso))
    tell_text(
        f"iso       {built.iso}: {human_size(built.size)}, "
        f"{'unchanged' if built.reused else 'built'}\n"
        f"contents  {len(found['files'])} files of {found['facts']['product version']} "
        f"for {found['facts']['architecture']}"
    )
    for path in built.side_files:
        tell_text(f"beside it {path}")
    tell_text(
        f"verified  {', '.join(verification.checked)}: "
        f"{len(verification.findings) or 'no'} findings\n"
        f"digest    {built.digest}"
    )
