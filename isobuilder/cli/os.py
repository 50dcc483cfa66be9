"""OS payloads: what makes an ISO bootable."""

from __future__ import annotations

import re
from pathlib import Path

import click

from isobuilder.cli.app import FOLDER, App, AppGroup, json_option
from isobuilder.cli.completion import payload_names
from isobuilder.cli.telling import table, tell, tell_path, tell_text
from isobuilder.model.architecture import ARCHITECTURES, DEFAULT
from isobuilder.text import human_size

_ADDRESS = re.compile(r"(https?://|file:/|copy:/)[!-Z^-~]+")
"""What apt takes as one word, without options in brackets."""

_KERNELS = click.Choice(["cloud", "generic"])
_ARCH = click.option(
    "--arch",
    type=click.Choice(list(ARCHITECTURES)),
    default=DEFAULT,
    show_default=True,
    help="Architecture of the payload.",
)


@click.group(cls=AppGroup)
def os() -> None:
    """Build and list what makes ISOs bootable."""


@os.command("build")
@click.option("--suite", default="trixie", show_default=True, help="Release of Debian.")
@click.option(
    "--kernel",
    type=_KERNELS,
    default="cloud",
    show_default=True,
    help="cloud is for virtual machines; generic also for hardware and USB sticks.",
)
@_ARCH
@click.option("--mirror", metavar="URL", help="Debian archive.  [default: the one apt here uses]")
@click.option("--security-mirror", metavar="URL", help="Debian security archive, beside --mirror.")
@click.option("--snapshot", is_flag=True, help="The mirror is frozen: its lists may have expired.")
@json_option
@click.pass_obj
def build(
    app: App,
    suite: str,
    kernel: str,
    arch: str,
    mirror: str | None,
    security_mirror: str | None,
    snapshot: bool,
    as_json: bool,
) -> None:
    """Build an OS payload from Debian packages and keep it in the store.

    It serves every Kubernetes version. Prints its name and digest.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.machine.osbuild import SUITES, Mirror, build_payload, host_mirror

    if suite not in SUITES:
        raise UsageProblem(f"no suite {suite!r}", hint=f"known suites: {', '.join(SUITES)}")
    if mirror is None and (security_mirror is not None or snapshot):
        raise UsageProblem("--security-mirror and --snapshot go with --mirror")
    for name, value in (("--mirror", mirror), ("--security-mirror", security_mirror)):
        if value is not None and not _ADDRESS.fullmatch(value):
            from isobuilder.http.addresses import redact

            raise UsageProblem(
                f"{name}: expected the address of a Debian archive, got {redact(value)!r}",
                hint="such as https://HOST/debian, or file:///srv/debian",
            )
        if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
            raise UsageProblem(
                f"{name}: a login in the address would be in the list of processes",
                hint="name a mirror or a proxy that asks for none",
            )
    source = host_mirror() if mirror is None else Mirror(mirror, security_mirror, snapshot)
    payload = build_payload(
        app.store,
        suite=suite,
        kernel="generic" if kernel == "generic" else "cloud",
        architecture=arch,
        mirror=source,
        progress=app.progress,
    )
    if as_json:
        app.show_json(payload.to_data())
    else:
        tell(f"{payload.name} {payload.digest}")


@os.command("list")
@json_option
@click.pass_obj
def list_payloads(app: App, as_json: bool) -> None:
    """List the OS payloads of the store."""
    from isobuilder.machine.payload import payloads

    found = payloads(app.store)
    if as_json:
        app.show_json(
            [
                {
                    "name": payload.name,
                    "digest": payload.digest,
                    "kernel_version": payload.kernel_version,
                    "packages": len(payload.packages),
                    "size": payload.size,
                }
                for payload in found
            ]
        )
        return
    rows = [
        (payload.name, payload.digest[:19], payload.kernel_version, human_size(payload.size))
        for payload in found
    ]
    if rows:
        tell_text(table(rows, ("NAME", "DIGEST", "KERNEL", "SIZE")))
    else:
        app.say("no OS payloads; make one with isobuilder os build")


@os.command("show")
@click.argument("payload", shell_complete=payload_names)
@_ARCH
@json_option
@click.pass_obj
def show(app: App, payload: str, arch: str, as_json: bool) -> None:
    """Tell what PAYLOAD, a name or the beginning of a digest, consists of."""
    from isobuilder.machine.payload import choose_payload

    chosen = choose_payload(app.store, payload, architecture=arch)
    if as_json:
        app.show_json(chosen.to_data())
        return
    tell(f"{chosen.name} {chosen.digest}")
    tell(f"suite {chosen.suite}, Linux {chosen.kernel_version}, by isobuilder {chosen.tool}")
    artifacts = [
        (name, human_size(artifact.size), artifact.digest)
        for name, artifact in sorted(chosen.artifacts.items())
    ]
    tell_text(table(artifacts, ("ARTIFACT", "SIZE", "DIGEST")))
    packages = [(package.name, package.version) for package in chosen.packages]
    tell_text(table(packages, ("PACKAGE", "VERSION")))


@os.command("export")
@click.argument("payload", shell_complete=payload_names)
@_ARCH
@click.option("--out", type=FOLDER, default="payload", show_default=True, help="Where it goes.")
@click.pass_obj
def export(app: App, payload: str, arch: str, out: Path) -> None:
    """Write PAYLOAD into a folder, to be served to recipes that name it in boot.payload.

    Prints the path of its description; the digest to write into the recipe goes to stderr.
    """
    from isobuilder.machine.payload import choose_payload, export_payload

    chosen = choose_payload(app.store, payload, architecture=arch)
    tell_path(export_payload(app.store, chosen, out))
    app.say(f"boot.payload.sha256 is {chosen.digest}")


@os.command("remove")
@click.argument("payload", shell_complete=payload_names)
@_ARCH
@click.pass_obj
def remove(app: App, payload: str, arch: str) -> None:
    """Forget PAYLOAD; isobuilder store gc then removes what no lock needs of it."""
    from isobuilder.machine.payload import choose_payload, forget_payload

    chosen = choose_payload(app.store, payload, architecture=arch)
    forget_payload(app.store, chosen)
    app.say(f"forgotten: {chosen.name} {chosen.digest}")
