"""Public facts of six releases, and the form in which the present builder would have them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FACTS = Path(__file__).parent / "upstream-facts.json"
RUNTIME = Path(__file__).parent / "runtime-facts.json"


def releases() -> list[dict[str, Any]]:
    """Return the facts, one dictionary for each Kubernetes version, with what is mended in them."""
    found: list[dict[str, Any]] = json.loads(FACTS.read_text())["versions"]
    mended: dict[str, Any] = json.loads(RUNTIME.read_text())["instead"]
    for facts in found:
        for file in mended.get(facts["kubernetes_version"], ()):
            facts["files"] = [
                file if known["path"] == file["path"] else known for known in facts["files"]
            ]
    return found


def runtime_files() -> list[dict[str, Any]]:
    """Return the files that nodes which boot from the ISO need beside those of ``releases``."""
    found: list[dict[str, Any]] = json.loads(RUNTIME.read_text())["files"]
    return found


def present_form(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of one release as a recipe of the present builder."""
    made_from = {
        name: next(
            image["reference"] for image in facts["images"] if part["source_sha"] in image["tag"]
        )
        for name, part in facts["components"].items()
    }
    return {
        "schema": 1,
        "kubernetes_version": facts["kubernetes_version"],
        "architecture": facts["architecture"],
        "profile": facts["profile"],
        "files": facts["files"],
        "images": [
            {
                "original": image["original"],
                "resolved_from": image["tag"],
                "reference": image["reference"],
                "import_alias": image["tag"],
            }
            for image in facts["images"]
        ],
        "core_images": facts["core_images"],
        "components": {
            name: {**part, "image": made_from[name]} for name, part in facts["components"].items()
        },
        "qualification": {"status": "candidate"},
    }


def write_all(folder: Path) -> list[Path]:
    """Write all releases in the present builder's form: what the shipped locks are made from."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for facts in releases():
        path = folder / f"kubernetes-{facts['kubernetes_version']}-{facts['architecture']}.json"
        path.write_text(json.dumps(present_form(facts), indent=2) + "\n")
        written.append(path)
    return written


if __name__ == "__main__":
    for made in write_all(Path(sys.argv[1])):
        print(made)
