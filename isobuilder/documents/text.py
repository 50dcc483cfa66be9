"""Plain values as YAML text that people can read: in the given order, long texts as blocks."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Never writes aliases; writes texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


_OTHER_BREAKS = "\x85\u2028\u2029"
"""At which readers of YAML 1.1 end a line as well, outside double quotes."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    if any(character in value for character in _OTHER_BREAKS):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(value: Any) -> str:
    """Return one YAML document; any text comes back as the same text."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000, line_break="\n"
    )


def yaml_documents(values: list[Any]) -> str:
    """Return several YAML documents in one text."""
    return "---\n".join(yaml_text(value) for value in values)
