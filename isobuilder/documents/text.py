"""Plain values as YAML text that people can read: in the given order, long texts as blocks."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Never writes aliases; writes texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


_OTHER_BREAKS = "\x85\u2028\u2029"
"""At which readers of YAML 1.1 end a line as well, outside double quotes."""

_NO_TEXT = re.compile(
    r"""
    [yYnN]
    | (?:[yY]es|YES|[nN]o|NO|[tT]rue|TRUE|[fF]alse|FALSE|[oO]n|ON|[oO]ff|OFF)
    | (?:~|[nN]ull|NULL|<<|=|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))
    | [-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?
    | [-+]?[0-9]+(?::[0-9]+)+(?:\.[0-9]*)?
    | [-+]?0[oObBxX][-+]?[0-9a-fA-F]+
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\ \t].*)?
    """,
    re.VERBOSE,
)
"""What some reader of YAML takes for a number, a boolean, nothing or a time where it is not quoted.

PyYAML quotes what it takes itself so; readers in Go, as kubeadm's, take more: ``08``, ``y``,
``1e3``. Source: go.yaml.in/yaml/v2 and v3, ``resolve.go``; YAML 1.1, "Language-independent types".
"""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    if any(character in value for character in _OTHER_BREAKS):
        style = '"'
    elif _NO_TEXT.fullmatch(value.replace("_", "")):  # which may stand anywhere in a number
        style = "'"
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
