"""The ``{{ ... }}`` in a recipe's values: names, text, if-else, and nothing that could run away.

A template is read by Jinja2 into its syntax tree and refused unless the tree has only kinds of
nodes that are listed here. What is left has no loops, calls, arithmetic, attributes or indexes, so
its result is never longer than its parts. It is then worked out as Jinja2 works out a constant:
names are replaced by their values, and nothing is ever compiled or run.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from isobuilder.documents.mistakes import nearest

_MAX_TEMPLATE = 4096  # characters
_MAX_RESULT = 8192  # characters

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
def _environment() -> jinja2.Environment:
    # Nothing is rendered, so there is nothing to escape.
    return jinja2.Environment(autoescape=False, keep_trailing_newline=True)  # noqa: S701


def is_template(text: str) -> bool:
    """Tell whether ``text`` has anything to expand."""
    return "{{" in text or "{%" in text or "{#" in text


def expand(text: str, values: Mapping[str, str], *, suggest: bool = True) -> str:
    """Return ``text`` with its templates replaced; only ``values`` are visible.

    Without ``suggest`` no name like an unknown one is looked for, which takes time.

    Raises:
        TemplateProblem: not a template, an unknown name, something that templates may not do, or a
            result that is too long.
    """
    if not is_template(text):
        return text
    if len(text) > _MAX_TEMPLATE:
        raise TemplateProblem(f"a template of more than {_MAX_TEMPLATE} characters")
    try:
        tree = _environment().parse(text)
        _check(tree, values, suggest=suggest)
        result = _worked_out(tree, values)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateProblem(f"not a template: {error.message}") from None
    except nodes.Impossible:
        raise TemplateProblem(
            "a template that compares what cannot be compared", "compare text with text, in quotes"
        ) from None
    except RecursionError:
        raise TemplateProblem("a template that is nested too deeply") from None
    if len(result) > _MAX_RESULT:
        raise TemplateProblem(f"a template whose result has more than {_MAX_RESULT} characters")
    return result


class _Named(NodeTransformer):
    """Puts values in the place of names."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def visit_Name(self, node: nodes.Name) -> nodes.Const:  # noqa: N802 - Jinja2's name for it
        return nodes.Const(self._values[node.name])


def _worked_out(tree: nodes.Template, values: Mapping[str, str]) -> str:
    context = nodes.EvalContext(_environment())
    named = _Named(values).visit(tree)
    outputs = (part for output in named.find_all(nodes.Output) for part in output.nodes)
    return "".join(str(part.as_const(context)) for part in outputs)


def _check(tree: nodes.Template, values: Mapping[str, str], *, suggest: bool) -> None:
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
            raise TemplateProblem(
                f"unknown filter {node.name[:80]!r}", nearest(node.name, [*_FILTERS])
            )
        if isinstance(node, nodes.Name) and node.name not in values:
            hint = nearest(node.name, [*values]) if suggest else None
            raise TemplateProblem(f"unknown name {node.name[:80]!r}", hint)
