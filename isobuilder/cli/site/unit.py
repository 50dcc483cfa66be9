"""A systemd unit that runs the command it was asked of.

Source: systemd.service(5), "Command lines"; systemd.exec(5), "Credentials" and "Sandboxing".
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

_UNIT = """\
[Unit]
Description=ISOs and images of this site, out of closed ISO files
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={command}
{further}DynamicUser=yes
Restart=on-failure
LimitNOFILE=4096
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6
MemoryDenyWriteExecute=yes
CapabilityBoundingSet={capability}

[Install]
WantedBy=multi-user.target
"""
_OURS = 1024  # ports below are the system's own
_CREDENTIALS = ("tls_cert", "tls_key", "password_file")  # files that root alone may read, perhaps
_HANDED = "${CREDENTIALS_DIRECTORY}/"


def unit_text(port: int, *, written: Iterable[Path | None]) -> str:
    """Return a unit for the command under way, which answers at ``port``.

    It runs as a user who may do nothing else: systemd hands it certificate, key and password, and
    it may write into the folders of ``written``.
    """
    words, further = _command_line(), []
    for name, path in _handed(click.get_current_context()):
        further.append(f"LoadCredential={name}:{_percent(str(path.absolute()))}")
    folders = {
        path.absolute().parent.resolve()
        for path in written
        if path is not None and str(path) != "-" and not path.absolute().is_relative_to("/dev")
    }
    if folders:
        further.append("# The user of this service has to be able to write there.")
        further.append(f"ReadWritePaths={' '.join(map(_word, sorted(map(str, folders))))}")
    capability = "CAP_NET_BIND_SERVICE" if 0 < port < _OURS else ""
    if capability:
        further.append(f"AmbientCapabilities={capability}")
    lines = "".join(f"{line}\n" for line in further)
    return _UNIT.format(command=" ".join(words), further=lines, capability=capability)


def _percent(text: str) -> str:
    return text.replace("%", "%%")  # which begins something that is put in its place


def _handed(context: click.Context) -> Iterator[tuple[str, Path]]:
    for name in _CREDENTIALS:
        path = context.params.get(name)
        if path is not None:
            yield name, path


def _command_line() -> list[str]:
    """Return the words of this command as a unit has them, for a service that starts elsewhere."""
    program, rest = Path(sys.argv[0]).absolute(), sys.argv[1:]
    words = [_quoted(str(program))]
    if program.name == "__main__.py":  # of python -m, and no program by itself
        words = [_quoted(sys.executable), "-m", program.parent.name]
    for context in _contexts(click.get_current_context()):
        if context.parent is not None:
            words.append(str(context.info_name))
        given, rest, order = context.command.make_parser(context).parse_args(list(rest))
        for parameter in dict.fromkeys(order):
            words += _spelled(parameter, given[str(parameter.name)])
        rest = rest[1:]  # the name of the next one
    return words


def _contexts(context: click.Context) -> list[click.Context]:
    return [*(_contexts(context.parent) if context.parent else []), context]


def _spelled(parameter: click.Parameter, given: Any) -> list[str]:
    """Return the words that give a parameter what it was given; paths are whole ones."""
    name = max(parameter.opts, key=len)
    if name == "--systemd":
        return []
    if parameter.name in _CREDENTIALS:
        return [name, f"{_HANDED}{parameter.name}"]
    if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count):
        return [name] * int(given)
    values = [given] if isinstance(given, str) else list(given)
    if isinstance(parameter.type, click.Path):
        values = [word if word == "-" else str(Path(word).absolute()) for word in values]
    is_option = isinstance(parameter, click.Option)
    return [
        word for value in map(_quoted, values) for word in ([name, value] if is_option else [value])
    ]


def _quoted(word: str) -> str:
    return _word(word).replace("$", "$$")  # of a variable


def _word(text: str) -> str:
    """Return one word; systemd reads the escapes of C in quotes of either kind."""
    return _percent(shlex.quote(text).replace("\\", r"\\"))
