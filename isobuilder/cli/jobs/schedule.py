"""``isobuilder upstream schedule``."""

from __future__ import annotations

from pathlib import Path

import click

from isobuilder.cli.app import FOLDER, App, AppCommand
from isobuilder.cli.jobs import image_option, install_option, refuse_idle, requirement
from isobuilder.cli.telling import tell_path, tell_text


@click.command(cls=AppCommand)
@click.option(
    "--format",
    "style",
    required=True,
    type=click.Choice(["systemd", "github", "gitlab", "kubernetes", "containerfile"]),
    help="Who is to start it.",
)
@click.option("--out", type=FOLDER, help="Write the files below this folder, not to stdout.")
@install_option
@image_option
@click.option("--program", help="Where isobuilder is, for systemd.")
@click.pass_obj
def schedule(
    app: App,
    style: str,
    out: Path | None,
    install: str | None,
    image: str | None,
    program: str | None,
) -> None:
    """Write the files with which systemd, a CI service or Kubernetes follows upstream by itself.

    A service with its timer, a workflow, a pipeline, or a CronJob, each with a policy for upstream
    sync; or the container file of the image that pods run. Those of systemd go below /etc. A file
    that is there and says something else stays as it is, and then none is written.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.files import holds, write_whole
    from isobuilder.jobs import files
    from isobuilder.pipeline.shipped import shipped

    refuse_idle(style, "--image", image, "kubernetes")
    refuse_idle(style, "--install", install, "github", "gitlab", "containerfile")
    refuse_idle(style, "--program", program, "systemd")
    texts = files.schedule_files(
        style,
        newest=str(shipped()[-1].version),
        install=requirement(install),
        image=image or files.IMAGE,
        program=program or files.PROGRAM,
    )
    if out is None:
        for name, text in texts.items():
            tell_text(f"# {name}\n{text}" if len(texts) > 1 else text, nl=False)
        return
    changed = [
        path
        for name, text in texts.items()
        if (path := out / name).exists() and not holds(path, text.encode())
    ]
    if changed:
        raise UsageProblem(
            f"{', '.join(map(str, changed))}: there already, and not what would be written",
            hint="take away what is not needed any more, or choose another --out",
        )
    for name, text in texts.items():
        if not (out / name).exists():
            write_whole(out / name, text.encode())
        tell_path(out / name)
    app.say("docs/scheduled-builds.md and docs/building-in-ci.md tell what comes next")
