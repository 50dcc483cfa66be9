"""Whatever a test lets a command print with ``--json`` is held to what the reference says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import click
import pytest

from isobuilder.cli.app import App, data_of
from isobuilder.text import as_json


@cache
def _validator(command: str) -> Any:
    # Here, so that tests which print nothing import nothing of it.
    referencing = import_module("referencing")
    jsonschema: Any = import_module("jsonschema")
    from tools.printed.page import PRINTED
    from tools.reference import DOCUMENTS, schema_of

    registry = referencing.Registry().with_resources(
        (f"{name}.schema.json", referencing.Resource.from_contents(json.loads(schema_of(name))))
        for name in DOCUMENTS
    )
    return jsonschema.Draft202012Validator(PRINTED[command], registry=registry)


def faults(command: str, value: Any) -> list[str]:
    """Return how a value differs from what the reference says that the command prints."""
    printed = json.loads(as_json(value, default=data_of))
    return [f"{one.json_path}: {one.message}" for one in _validator(command).iter_errors(printed)]


@contextmanager
def held_to_the_reference() -> Iterator[None]:
    """Let each command that prints JSON fail where the reference does not say so."""
    show = App.show_json

    def shown(app: App, value: Any) -> None:
        context = click.get_current_context()
        if any("--json" in parameter.opts for parameter in context.command.params):
            found = faults(context.command_path.partition(" ")[2], value)
            assert not found, f"not as in docs/reference/output.md: {found}"
        show(app, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(App, "show_json", shown)
        yield
