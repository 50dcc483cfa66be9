"""Print the table of rules in docs/node-contract.md; ``--write`` puts it there."""

from __future__ import annotations

from isobuilder.contract.deep import DEEP_RULES
from isobuilder.contract.play import RULES
from isobuilder.contract.rule import Rule
from tools.tables import DOCS, Table

_DEEP = "What the rules say of an import is our reading; a containerd has the last word"
CLOUDS = {"mold": "Mold", "cloudstack": "CloudStack"}


def table() -> str:
    """Return every rule as a row: id, what holds, who cares, and why."""
    rows = ["| Rule | What holds | Where | Why |", "|---|---|---|---|"]
    rows += [f"| `{rule.id}` | {rule.title} | {_where(rule)} | {rule.why} |" for rule in RULES]
    rows += [
        f"| `{name}` | {title} | with `--deep` | {_DEEP} |" for name, title in DEEP_RULES.items()
    ]
    return "\n".join(rows)


def _where(rule: Rule) -> str:
    clouds = " and ".join(CLOUDS[cloud] for cloud in rule.clouds)
    severity = "" if rule.severity == "error" else " (warning)"
    return f"{clouds}, {' and '.join(rule.actions)}; {', '.join(rule.roles)}{severity}"


TABLE = Table("rules", DOCS / "node-contract.md", table)

if __name__ == "__main__":
    TABLE.main()
