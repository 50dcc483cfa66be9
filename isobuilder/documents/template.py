"""The ``{{ ... }}`` in a recipe's values: names, text, if-else, and nothing that could run away.

A template is read by Jinja2 into its syntax tree and refused unless the tree has only kinds of
nodes that are listed here. What is left has no loops, calls, arithmetic, attributes or indexes, so
its result is never longer than its parts; the sandbox is the second fence.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

from isobuilder.documents.mistakes import nearest

MAX_TEMPLATE = 4096  # characters
MAX_RESULT = 8192  # characters

_FILTERS = {"lower", "upper"}
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Filter,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Concat,
)


class TemplateProblem(ValueError):
    """A template is wrong; carries a hint."""

    def __init__(self, fact: str, hint: str | None = None) -> None:
        super().__init__(fact)
        self.hint = hint


@functools.cache
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True
    )


def is_template(text: str) -> bool:
    """Tell whether ``text`` has anything to expand."""
    return "{{" in text or "{%" in text or "{#" in text


def expand(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` with its templates replaced; only ``values`` are visible.

    Raises:
        TemplateProblem: not a template, an unknown name, something that templates may not do, or a
            result that is too long.
    """
    if not is_template(text):
        return text
    if len(text) > MAX_TEMPLATE:
        raise TemplateProblem(f"a template of more than {MAX_TEMPLATE} characters")
    try:
        tree = _environment().parse(text)
        _check(tree, values)
        result = _environment().from_string(tree).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateProblem(f"not a template: {error.message}") from None
    except RecursionError:
        raise TemplateProblem("a template that is nested too deeply") from None
    if len(result) > MAX_RESULT:
        raise TemplateProblem(f"a template whose result has more than {MAX_RESULT} characters")
    return result


def _check(tree: nodes.Template, values: Mapping[str, str]) -> None:
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            what = type(node).__name__.lower()
            raise TemplateProblem(
                f"{what!r} is not allowed in a template",
                "use names, quoted text, ~, if-else, comparisons, and the filters lower and upper",
            )
        if isinstance(node, nodes.CondExpr) and node.expr2 is None:
            raise TemplateProblem("an if without else", "write an else")
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            raise TemplateProblem(f"unknown filter {node.name!r}", nearest(node.name, [*_FILTERS]))
        if isinstance(node, nodes.Name) and node.name not in values:
            raise TemplateProblem(f"unknown name {node.name!r}", nearest(node.name, [*values]))
