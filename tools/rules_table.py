"""Print the table of rules in docs/node-contract.md; ``--write`` puts it there."""

from __future__ import annotations

import argparse
from pathlib import Path

from isobuilder.contract.deep import DEEP_RULES
from isobuilder.contract.play import RULES
from isobuilder.contract.rule import Rule

DOCUMENT = Path(__file__).parents[1] / "docs" / "node-contract.md"
BEGIN = "<!-- rules: python tools/rules_table.py --write -->"
END = "<!-- end of rules -->"
_DEEP = "What the rules say of an import is our reading; a containerd has the last word"
CLOUDS = {"mold": "Mold", "cloudstack": "CloudStack"}


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


def with_table(text: str) -> str:
    """Return the document's text with the current table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


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


if __name__ == "__main__":
    main()
