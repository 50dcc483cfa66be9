"""Write docs/reference: pages about commands, settings and documents, made from the code.

Without ``--write`` it compares and names the pages that are not current.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from isobuilder.cli.examples import EXAMPLES
from isobuilder.cli.main import main as program
from isobuilder.cli.setup.man import contexts, exit_codes, options_of, paragraphs
from isobuilder.errors import IsobuilderError
from isobuilder.model.base import Model
from isobuilder.model.cluster import Cluster
from isobuilder.model.config import PREFIX, Config
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.lock import Lock
from isobuilder.model.payload import OsPayload
from isobuilder.model.policy import SyncPolicy
from isobuilder.model.recipe import Recipe
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold.plan import ChangePlan
from isobuilder.publish.index import PublishedIndex
from isobuilder.rules.book import RuleBook
from isobuilder.site.bundles.bundle import Bundle
from tools.printed.page import printed, printed_schema
from tools.printed.words import cell, kind_of
from tools.tables import DOCS

FOLDER = DOCS / "reference"
_MADE = "<!-- Written by `python -m tools.reference --write` from the code; do not edit. -->"

DOCUMENTS: dict[str, tuple[type[BaseModel], str]] = {
    "recipe": (Recipe, "what an author wants, in YAML, after `extends` and templates"),
    "lock": (Lock, "NAME.ARCH.lock.json: the exact answer to a recipe"),
    "manifest": (IsoManifest, "manifest.json, on an ISO and beside it"),
    "registration": (RegistrationFile, "NAME.registration.json: what Mold has to be told"),
    "settings": (Config, "config.yaml"),
    "policy": (SyncPolicy, "what `upstream sync` wants, in YAML"),
    "cluster": (Cluster, "what `node cluster` makes machines of, in YAML"),
    "payload": (OsPayload, "payload.json of an OS payload"),
    "rules": (RuleBook, "what fits with what, of `upstream rules` and `--rules`"),
    "index": (PublishedIndex, "index.json of a published place"),
    "plan": (ChangePlan, "what `mold audit --plan` writes and `mold apply` does"),
    "bundle": (Bundle, "bundle.json in a bundle for a site"),
}

# What is no setting of the file; a test sees that no variable is missing.
VARIABLES = {
    "BUILDER": "who builds, in the provenance of `sign`; `--builder` wins",
    "KEY_PASSWORD": "passphrase of the key that signs",
    "KEY_PASSWORD_FILE": "a file whose first line it is",
    "PKCS11_PIN": "PIN of the token that signs",
    "PKCS11_PIN_FILE": "a file whose first line it is",
    "SIGNER": "program that signs, with its words, where there is no `--key`",
    "SIGNING_KEY": "key that signs; `--key` wins",
    "CONFIG": "the settings file, as `--config`",
    "PROGRESS": "how long work shows, as `--progress`",
    "MOLD_ENDPOINT": "the server of all `mold` commands that name none",
    "MOLD_API_KEY": "its API key; `MOLD_NAME_API_KEY` is that of the server NAME of the settings",
    "MOLD_SECRET_KEY": "its secret key; likewise by name",
    "MOLD_KEY_FILE": "a file with both keys, and perhaps the endpoint; likewise by name",
    "MOLD_PASSWORD": "the password of `--username`, in place of keys",
    "NODE_TOKEN": "the token with which machines join, for `node user-data` and `cluster`",
    "NODE_CERTIFICATE_KEY": "the key of the certificates that control planes hand on",
    "MOLD_SIGNATURE": "`hmac-sha1` for Apache CloudStack; likewise by name",
    "TRANSFER_LEAST_SPEED": "`least_speed` of the setting `transfer`",
    "TRANSFER_LEAST_SPEED_SECONDS": "`least_speed_seconds` of the setting `transfer`",
}


def commands() -> str:
    """Return the page about commands, options and exit codes."""
    found = list(contexts(program))
    first = found[0]
    common = options_of(first)[1]
    lines = ["# Commands", "", _MADE, "", "| Command | What it does |", "|---|---|"]
    for one in found[1:]:
        path = one.command_path
        told = paragraphs(one.command.help or "")[0]
        lines.append(f"| [`{path}`](#{_anchor(path)}) | {cell(told)} |")
    lines += ["", "## Common options", "", "They stand before or after any command's name.", ""]
    lines += [*_options(common), "", "## Exit codes", "", "| Code | Meaning | Raised as |"]
    lines.append("|---|---|---|")
    raised = {str(kind.exit_code): kind for kind in IsobuilderError.__subclasses__()}
    for code, meaning in exit_codes(program):
        name = f"`{raised[code].__name__}`" if code in raised else ""
        lines.append(f"| {code} | {meaning} | {name} |")
    for one in found[1:]:
        lines += ["", *_command(one)]
    return "\n".join(lines) + "\n"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    path = context.command_path
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f"## {path}", "", "```text", f"{path} {usage}", "```")
    for part in paragraphs(command.help or ""):
        yield ""
        if part.startswith("\b\n"):
            yield from ("```text", *part.split("\n")[1:], "```")
        else:
            yield _text(" ".join(part.split()))
    own = [row for row in options_of(context)[0] if "--help" not in row[0]]
    if own:
        yield from ("", *_options(own))
    if examples := EXAMPLES.get(path.partition(" ")[2]):
        yield from ("", "```sh", *examples, "```")


def _options(rows: list[tuple[str, str]]) -> list[str]:
    return [
        "| Option | What it means |",
        "|---|---|",
        *(f"| `{cell(name)}` | {cell(_text(told))} |" for name, told in rows),
    ]


def _text(text: str) -> str:
    """Return a text of the terminal as Markdown shows it."""
    return re.sub(r"([<>_*\[\]`])", r"\\\1", text)


def settings() -> str:
    """Return the page about settings and variables."""
    lines = ["# Settings", "", _MADE, ""]
    lines += [
        "They stand in `~/.config/isobuilder/config.yaml`, or the file that `--config` or",
        "`ISOBUILDER_CONFIG` names. A flag wins over a variable, a variable over the file;",
        "`isobuilder config show` tells each value and where it is from.",
        "",
        "| Setting | Variable | Kind | Default | What it is |",
        "|---|---|---|---|---|",
    ]
    notes, schema = _notes(Config), Config.model_json_schema()
    for name, field in Config.model_fields.items():
        variable = f"`{PREFIX}{name.upper()}`"
        if name in {"mold", "servers", "transfer"}:
            variable = "see below"
        kind = kind_of(schema["properties"][name])
        default = field.get_default(call_default_factory=True)
        told = default.model_dump() if isinstance(default, Model) else default
        cells = (f"`{name}`", variable, kind, f"`{json.dumps(told)}`", cell(notes.get(name, "")))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Other variables", "", "| Variable | What it is |", "|---|---|"]
    lines += [f"| `{PREFIX}{name}` | {told} |" for name, told in sorted(VARIABLES.items())]
    lines += [
        "",
        "`GITHUB_TOKEN` lets `upstream` ask more often. Proxies, `SSL_CERT_FILE`, `~/.netrc`,",
    ]
    lines += ["`~/.docker/config.json` and `REGISTRY_AUTH_FILE` are honoured:"]
    lines += ["[reaching upstream](../reaching-upstream.md)."]
    for model in _models(Config)[1:]:
        lines += ["", *_table(model, schema["$defs"][model.__name__])]
    return "\n".join(lines) + "\n"


def documents() -> str:
    """Return the page about the fields of all documents."""
    lines = ["# Documents", "", _MADE, ""]
    lines += ["Each has a JSON schema, with which editors and checkers read it.", ""]
    lines += ["| Document | What it is | Schema |", "|---|---|---|"]
    for name, (_model, told) in DOCUMENTS.items():
        link = f"[{name}.schema.json](schemas/{name}.schema.json)"
        lines.append(f"| [{name}](#{name}) | {told} | {link} |")
    for name, (model, told) in DOCUMENTS.items():
        schema = model.model_json_schema(by_alias=True)
        lines += ["", f"## {name}", "", f"{told[:1].upper()}{told[1:]}.", ""]
        for kind in _models(model):
            inner = schema if kind is model else schema["$defs"][kind.__name__]
            lines += [*_table(kind, inner, name), ""]
    return "\n".join(lines).rstrip() + "\n"


def _models(root: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and all that are in it, each once."""
    found: dict[str, type[BaseModel]] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop(0)
        if found.setdefault(one.__name__, one) is one:
            texts = [
                one for field in one.model_fields.values() for one in _inside(field.annotation)
            ]
            waiting += [kind for kind in texts if kind.__name__ not in found]
    return list(found.values())


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _inside(argument)


def _table(model: type[BaseModel], schema: dict[str, Any], document: str = "") -> Iterator[str]:
    notes = _notes(model)
    required = set(schema.get("required", ()))
    by_alias = {field.alias or name: name for name, field in model.model_fields.items()}
    yield from (f"### {f'{document}: ' if document else ''}{model.__name__}", "")
    yield from ("| Field | Kind | Needed | What it is |", "|---|---|---|---|")
    for name, value in schema.get("properties", {}).items():
        note = cell(notes.get(by_alias.get(name, name), value.get("description", "")))
        needed = "yes" if name in required else "no"
        yield f"| `{name}` | {kind_of(value)} | {needed} | {' '.join(note.split())} |"


def _notes(model: type[BaseModel]) -> dict[str, str]:
    """Return what the comments beside the fields of a model say."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            found |= dict(re.findall(r"^    (\w+): .*  # (.+)$", inspect.getsource(kind), re.M))
    return found


def schema_of(name: str) -> str:
    """Return the JSON schema of a document."""
    schema = DOCUMENTS[name][0].model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


PAGES: dict[Path, Callable[[], str]] = {
    FOLDER / "commands.md": commands,
    FOLDER / "settings.md": settings,
    FOLDER / "documents.md": documents,
    FOLDER / "output.md": partial(printed, _MADE),
    FOLDER / "schemas" / "output.schema.json": printed_schema,
    **{FOLDER / "schemas" / f"{name}.schema.json": partial(schema_of, name) for name in DOCUMENTS},
}


def main() -> None:
    """Compare or, with ``--write``, write every page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    old = []
    for path, text in PAGES.items():
        if path.is_file() and path.read_text(encoding="utf-8") == text():
            continue
        old.append(str(path))
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), encoding="utf-8")
    if old and not write:
        sys.exit(f"not current: {', '.join(old)}; run python -m tools.reference --write")


if __name__ == "__main__":
    main()
