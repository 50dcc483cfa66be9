"""How bad a vulnerability is, from what records of it say.

Sources: CVSS v3.1 specification, section 7 (base score) and 5 (words for scores).
"""

from __future__ import annotations

import math

_METRICS = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "PR": {"N": 0.85, "L": 0.62, "H": 0.27},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_CHANGED_PRIVILEGES = {"N": 0.85, "L": 0.68, "H": 0.5}


def base_score(vector: str) -> float | None:
    """Return the base score of a CVSS 3 vector; None of any other text."""
    head, *pairs = vector.split("/")
    if head not in {"CVSS:3.0", "CVSS:3.1"}:
        return None
    told = dict(pair.split(":", 1) for pair in pairs if ":" in pair)
    scope = told.get("S")
    values = {name: table.get(told.get(name, "")) for name, table in _METRICS.items()}
    if scope == "C":
        values["PR"] = _CHANGED_PRIVILEGES.get(told.get("PR", ""))
    if scope not in {"U", "C"} or None in values.values():
        return None
    known = {name: value for name, value in values.items() if value is not None}
    base = 1 - (1 - known["C"]) * (1 - known["I"]) * (1 - known["A"])
    impact = 6.42 * base
    if scope == "C":
        impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * known["AV"] * known["AC"] * known["PR"] * known["UI"]
    total = impact + exploitability
    return _rounded_up(min((1.08 if scope == "C" else 1.0) * total, 10))


def _rounded_up(score: float) -> float:
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (math.floor(whole / 10_000) + 1) / 10
