"""``isobuilder site serve``."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, NEW_FILE, App, AppCommand, WholeNumber, plural
from isobuilder.cli.jobs.metrics import metrics_option
from isobuilder.cli.site.unit import unit_text
from isobuilder.cli.telling import tell, tell_text
from isobuilder.text import printable, whole_number

if TYPE_CHECKING:
    from isobuilder.http.encrypted import TlsContext
    from isobuilder.site.server import SiteLogin

_WRITE_SECONDS = 15.0  # as often as Prometheus usually asks


def _parse_listen(
    _context: click.Context, _parameter: click.Parameter, value: str
) -> tuple[str, int]:
    """Return host and port of ``127.0.0.1:5000``, ``[::]:5000`` or ``:5000``, which is anywhere."""
    host, colon, digits = value.rpartition(":")
    port = whole_number(digits)
    if not colon or port is None or port > 65535:
        raise click.BadParameter("expected ADDRESS:PORT, such as 127.0.0.1:5000, or :5000")
    if not (host := host.strip("[]")):
        from isobuilder.http.serving import every_address

        host = every_address()
    return host, port


@click.command(cls=AppCommand)
@click.argument(
    "places", metavar="ISO|DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--listen",
    default="127.0.0.1:5000",
    show_default=True,
    metavar="ADDRESS:PORT",
    callback=_parse_listen,
    help="Where to answer; :5000 is every address of this machine.",
)
@click.option("--tls-cert", type=FILE, help="Certificate with its chain, PEM.")
@click.option("--tls-key", type=FILE, help="Its key.  [default: in the file of the certificate]")
@click.option("--user", metavar="NAME", help="Only for who logs in as NAME; needs --password-file.")
@click.option("--password-file", type=FILE, help="Its first line is the password.")
@click.option("--plain-http", is_flag=True, help="Take logins unencrypted, without --tls-cert.")
@click.option(
    "--clients",
    default=512,
    show_default=True,
    type=WholeNumber(1, 4096),
    help="Connections at once; further ones wait.",
)
@click.option("--access-log", type=NEW_FILE, help="A line for each answer; - is stdout.")
@metrics_option
@click.option(
    "--catalogue",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="SITE",
    help="Also show this site at /catalogue/, see isobuilder catalogue.",
)
@click.option("--systemd", is_flag=True, help="Only print a unit that runs this command.")
@click.pass_obj
def serve(
    app: App,
    /,
    places: tuple[Path, ...],
    listen: tuple[str, int],
    tls_cert: Path | None,
    tls_key: Path | None,
    user: str | None,
    password_file: Path | None,
    plain_http: bool,
    clients: int,
    access_log: Path | None,
    metrics: Path | None,
    catalogue: Path | None,
    systemd: bool,
) -> None:
    """Serve the images, files and ISOs of each ISO, or of each in DIR, straight out of the file.

    A registry that is only read (/v2/), the ISOs (/isos/), what lies on them (/files/), a page for
    people (/), /site.json, /healthz and /metrics. Nothing is unpacked. ISOs that come, go or are
    replaced are noticed within a second or two. Ctrl-C ends it.
    """
    if systemd:
        tell_text(unit_text(listen[1], written=(access_log, metrics)), nl=False)
        return
    from isobuilder.http.connection import Limits
    from isobuilder.site.server import SiteServer
    from isobuilder.site.shelf import Shelf

    login = _login(user, password_file, listen[0], plain=plain_http or tls_cert is not None)
    tls = _tls(tls_cert, tls_key)
    log = _access_log(app, access_log)
    shelf = Shelf(places)
    catalog = shelf.open()
    for warning in catalog.warnings:
        app.say(f"warning: {warning}")
    _take_descriptors(2 * clients + 256)
    host, port = listen
    with SiteServer(
        shelf,
        host=host,
        port=port,
        tls=tls,
        limits=Limits(clients=clients),
        login=login,
        access=log,
        catalogue=catalogue,
    ) as server:
        tell(server.url)
        count = plural(len(catalog.holdings), "ISO")
        app.say(f"{count} with {plural(catalog.images, 'image')}; Ctrl-C ends it")
        try:
            _keep_writing(server.metrics, metrics)
        except KeyboardInterrupt:
            app.say("ended")


def _keep_writing(numbers: Callable[[], bytes], path: Path | None) -> None:
    """Write numbers into a file again and again, if one is named, until somebody interrupts."""
    from isobuilder.errors import EnvironmentProblem
    from isobuilder.files import write_whole

    if path is not None:
        write_whole(path, numbers())
    while True:
        time.sleep(3600 if path is None else _WRITE_SECONDS)
        if path is not None:
            try:
                write_whole(path, numbers())
            except EnvironmentProblem as problem:  # what is served goes on being served
                tell(f"warning: {problem}", err=True)


def _login(
    user: str | None, password_file: Path | None, host: str, *, plain: bool
) -> SiteLogin | None:
    from isobuilder.errors import UsageProblem
    from isobuilder.http.access import configured_login
    from isobuilder.http.addresses import is_this_machine
    from isobuilder.http.settings import ServerAccess
    from isobuilder.site.server import SiteLogin

    if (user is None) != (password_file is None):
        raise UsageProblem("--user and --password-file belong together")
    if user is None:
        return None
    if ":" in user:
        raise UsageProblem("--user: a name has no colon in it (RFC 7617)")
    if not plain and not is_this_machine(host):
        raise UsageProblem(
            "logins would come unencrypted over the network",
            hint="give --tls-cert, or --plain-http if that is meant",
        )
    found = configured_login(
        ServerAccess("--password-file", user=user, password_file=password_file)
    )
    return SiteLogin(user, found.password) if found else None


def _tls(certificate: Path | None, key: Path | None) -> TlsContext | None:
    from isobuilder.errors import UsageProblem
    from isobuilder.http.encrypted import server_tls

    if certificate is None:
        if key is not None:
            raise UsageProblem("--tls-key belongs to --tls-cert, which is missing")
        return None
    return server_tls(certificate, key)


def _access_log(app: App, path: Path | None) -> Callable[[str], None] | None:
    """Return who writes a line of the access log; lines of several threads do not mix.

    Raises:
        UsageProblem: the file is none to write into, such as a pipe that nobody may read.
        EnvironmentProblem: it cannot be opened.
    """
    if path is None:
        return None
    if str(path) == "-":
        return _AccessLog("stdout", tell).write
    file = os.fdopen(_opened(path), "wb", buffering=0)  # what cannot be written does not wait here

    def put(line: str) -> None:
        data = f"{printable(line, 2000)}\n".encode()
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = _AccessLog(path, put)
    app.closing.callback(log.tried, file.close)
    return log.write


class _AccessLog:
    """Lines about answers; that they cannot be written is told, and keeps nobody from answers."""

    def __init__(self, place: object, put: Callable[[str], object]) -> None:
        self._place, self._put = place, put
        self._guard = threading.Lock()
        self._lost = False  # and it was told

    def write(self, line: str) -> None:
        """Write a line."""
        with self._guard:
            self.tried(lambda: self._put(line))

    def tried(self, act: Callable[[], object]) -> None:
        """Do something about the log; what it fails with is told once, until it works again."""
        try:
            act()
        except OSError as error:
            if not self._lost:
                said = f"{self._place}: {error.strerror}: lines of the access log are lost"
                with contextlib.suppress(OSError):  # stderr may be on the same disk
                    tell(f"warning: {said}; what is served goes on being served", err=True)
            self._lost = True
        else:
            self._lost = False


def _opened(path: Path) -> int:
    """Return a descriptor that writes to the end of a file, or to stdout or stderr by a name."""
    from isobuilder.errors import UsageProblem
    from isobuilder.files import as_environment_problem

    with as_environment_problem(path):
        there = path.stat() if path.exists() else None
        for own in (1, 2):  # a pipe or a socket of whoever started us: only they are there already
            with contextlib.suppress(OSError):
                if there is not None and os.path.samestat(there, os.fstat(own)):
                    return os.dup(own)
        if there is None or stat.S_ISREG(there.st_mode) or stat.S_ISCHR(there.st_mode):
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    raise UsageProblem(
        f"--access-log: {path}: expected a file, or none yet",
        hint="--access-log - writes to stdout, which may be a pipe",
    )


def _take_descriptors(wanted: int) -> None:
    """Raise our limit of open files as far as the system lets us: two for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
