"""``isobuilder demo``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import click

from isobuilder.cli.app import FOLDER, App, AppCommand, human_size, plural, table


@click.command(cls=AppCommand)
@click.option("--out", type=FOLDER, default="demo-out", show_default=True, help="Where files go.")
@click.option("--serve", is_flag=True, help="Only serve the upstream, until Ctrl-C, to try things.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With --serve: the port.")
@click.pass_obj
def demo(app: App, out: Path, serve: bool, port: int) -> None:
    """Try everything on an embedded upstream; needs no network.

    Starts a file server and a registry on loopback with small stand-ins for a Kubernetes release,
    then locks, plans, fetches, builds, verifies and registers with a simulator of Mold, and tells
    what it did and where the files are.
    """
    from isobuilder.demo.tour import embedded_upstream, tour
    from isobuilder.pipeline.compare import contents_of, summary

    if serve:
        with embedded_upstream(out, port=port):
            click.echo(out / "config.yaml")
            app.say("serving; try: isobuilder build RECIPE --config CONFIG, and Ctrl-C to end")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        return
    done = tour(out, progress=app.progress)
    found = summary(contents_of(done.built.iso))
    cached = sum(1 for item in done.plan.items if item.missing == 0)
    click.echo(
        f"recipe    {done.recipe}\n"
        f"lock      {done.lock.path}: {len(done.lock.lock.files)} files, "
        f"{len(done.lock.lock.manifests)} manifests, {len(done.lock.lock.images)} images\n"
        f"plan      {len(done.plan.items)} things, {cached} of them stored, "
        f"{human_size(done.plan.download)} to download\n"
        f"iso       {done.built.iso}: {human_size(done.built.size)}, "
        f"{'unchanged' if done.built.reused else 'built'}\n"
        f"contents  {len(found['files'])} files of {found['facts']['product version']} "
        f"for {found['facts']['architecture']}"
    )
    for path in done.built.side_files:
        click.echo(f"beside it {path}")
    click.echo(
        f"verified  {', '.join(done.verification.checked)}: "
        f"{len(done.verification.findings) or 'no'} findings\n"
        f"digest    {done.built.digest}\n"
        f"register  {plural(done.rehearsal.changes_at_first, 'call')} that changed a simulated "
        f"Mold; {done.rehearsal.changes_again or 'none'} when asked again\n"
    )
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
    click.echo(table(rows, ("NAME", "VERSION", "ARCH", "ZONE", "STATE", "ISO")))
    click.echo(
        "\nThe content is a stand-in: this ISO shows how isobuilder works and starts no cluster."
    )
