"""``isobuilder mold simulate``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from isobuilder.cli.app import NEW_FILE, App, AppCommand, WholeNumber
from isobuilder.cli.telling import tell
from isobuilder.files import holds, write_whole

_MARK = b"# of isobuilder mold simulate, which writes this file and removes it\n"


@click.command(cls=AppCommand)
@click.option(
    "--port",
    type=WholeNumber(0, 65535),
    default=0,
    help="Port on the loopback interface.  [default: a free one]",
)
@click.option("--zone", "zones", multiple=True, metavar="NAME", help="A zone; repeatable.")
@click.option(
    "--key-file",
    type=NEW_FILE,
    default="mold-simulator.key",
    show_default=True,
    help="Where the keys of its user are written.",
)
@click.option(
    "--signature",
    type=click.Choice(["hmac-sha256", "hmac-sha1"]),
    default="hmac-sha256",
    show_default=True,
    help="What it verifies: Mold's or CloudStack's.",
)
@click.pass_obj
def simulate(app: App, port: int, zones: tuple[str, ...], key_file: Path, signature: str) -> None:
    """Run a SIMULATOR of Mold's API to try the other commands on. It is not a Mold.

    It keeps everything in memory, really downloads what is registered and checks it. Ctrl-C ends
    it.
    """
    from isobuilder.demo.mold import Cloud, Simulator
    from isobuilder.mold.api.signing import SignatureAlgorithm

    _refuse_another(key_file)
    cloud = Cloud(zones=zones or ("Zone1", "Zone2"))
    simulator = Simulator(cloud, algorithm=SignatureAlgorithm(signature), port=port)
    user = simulator.admin
    keys = _MARK + f"api_key = {user.key}\nsecret_key = {user.secret}\n".encode()
    write_whole(key_file, keys, private=True)
    with simulator:
        tell(simulator.endpoint)
        app.say(f"a SIMULATOR of Mold, with the zones {', '.join(z.name for z in cloud.zones)}")
        app.say("in another terminal:")
        app.say(f"  export ISOBUILDER_MOLD_ENDPOINT={simulator.endpoint}")
        app.say(f"  export ISOBUILDER_MOLD_KEY_FILE={key_file.resolve()}")
        if signature != "hmac-sha256":
            app.say(f"  export ISOBUILDER_MOLD_SIGNATURE={signature}")
        app.say("  isobuilder mold check")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            app.say("the simulator ended; everything it knew is gone")
        finally:
            if holds(key_file, keys):  # else somebody's by now
                key_file.unlink(missing_ok=True)


def _refuse_another(path: Path) -> None:
    """Raise if a file that no simulator wrote would be written over: the keys of a real server.

    Raises:
        InputError: it would.
        EnvironmentProblem: it cannot be read.
    """
    from isobuilder.errors import InputError
    from isobuilder.files import as_environment_problem, refuse_special

    refuse_special(path)
    with as_environment_problem(path):
        if path.exists() and not path.read_bytes().startswith(_MARK):
            raise InputError(
                f"{path}: is there already, and no simulator wrote it",
                hint="name another file with --key-file",
            )
