"""Plain values as YAML text for people."""

from __future__ import annotations

import yaml

from isobuilder.model.door import resolve_plain


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would not read back as text; PyYAML by itself thinks of 1.1."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        style = None if isinstance(resolve_plain(text), str) else "'"
    except ValueError:
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def yaml_text(data: object) -> str:
    """Return ``data`` as YAML that our own door reads back as the same values."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)
