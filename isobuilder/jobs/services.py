"""Cells as the jobs of a service: each one is a build that may be begun anywhere and again.

Sources: GitHub's page "Running variations of jobs in a workflow" (``fromJSON`` of a matrix),
GitLab's page "Downstream pipelines" (dynamic child pipelines), Kubernetes' batch/v1 and its
restricted Pod Security Standard.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from isobuilder.digest import Digest
from isobuilder.documents.text import yaml_documents, yaml_text
from isobuilder.jobs.cell import Cell
from isobuilder.text import as_json

_PYTHON_IMAGE = "docker.io/library/python:3.13-slim-trixie"
STATE = "/var/lib/isobuilder"
"""Where units and pods keep recipes, store and ISOs."""

_NEVER_AGAIN = (2, 3, 5)  # exit codes of mistakes and wrong bytes, which another try does not mend
_USER = 65532
_NAME_LIMIT = 63  # characters of a DNS label


def github(cells: Sequence[Cell]) -> str:
    """Return the value of ``strategy.matrix``, as ``fromJSON`` takes it, in one line."""
    return as_json({"include": [cell.to_data() for cell in cells]}) + "\n"


def gitlab(cells: Sequence[Cell], *, out: str, install: str, chosen: Sequence[str]) -> str:
    """Return a child pipeline: a job for each cell, then one that compares what they made.

    ``install`` is what pip installs first, ``chosen`` the options by which the cells were chosen.
    """
    artifacts = {"paths": [f"{out}/"], "expire_in": "1 week", "when": "always"}
    status = ["isobuilder", "matrix", "status", out, *chosen, "--exit-code"]
    jobs: dict[str, Any] = {
        cell.name: {"stage": "build", "script": cell.commands(out), "artifacts": artifacts}
        for cell in cells
    }
    pipeline = {
        # Without it a child of a merge request's pipeline would have no jobs.
        "workflow": {"rules": [{"if": '$CI_PIPELINE_SOURCE == "parent_pipeline"'}]},
        "stages": ["build", "status"],
        "default": {
            "image": _PYTHON_IMAGE,
            "before_script": [shlex.join(["pip", "install", "--quiet", install])],
            "retry": {"max": 1, "when": ["runner_system_failure", "stuck_or_timeout_failure"]},
        },
        "variables": {
            "ISOBUILDER_STORE": "$CI_PROJECT_DIR/.store",
            "ISOBUILDER_PROGRESS": "plain",
            "PIP_ROOT_USER_ACTION": "ignore",
        },
        **jobs,
        "status": {
            "stage": "status",
            "when": "always",
            "script": [shlex.join(status)],
        },
    }
    return yaml_text(pipeline)


def kubernetes(cells: Sequence[Cell], *, out: str, image: str) -> str:
    """Return one Job for each cell, for a namespace with the claim ``isobuilder``."""
    return yaml_documents([_job(cell, out, image) for cell in cells])


def _job(cell: Cell, out: str, image: str) -> dict[str, Any]:
    script = "set -eu\n" + "\n".join(cell.commands(out)) + "\n"
    container = {
        "name": "build",
        "image": image,
        "command": ["sh", "-c", script],
        "workingDir": STATE,
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - of the container, an emptyDir
            {"name": "ISOBUILDER_STORE", "value": f"{STATE}/store"},
            {"name": "ISOBUILDER_PROGRESS", "value": "plain"},
        ],
        "resources": {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
    labels = {
        "app.kubernetes.io/name": "isobuilder",
        "app.kubernetes.io/component": "build",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": object_name(cell.name), "labels": labels},
        "spec": {
            "backoffLimit": 3,
            "ttlSecondsAfterFinished": 7 * 24 * 3600,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "build",
                            "operator": "In",
                            "values": list(_NEVER_AGAIN),
                        },
                    }
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": _pod(container)},
        },
    }


def _pod(container: dict[str, Any]) -> dict[str, Any]:
    """Return a pod of one container that may do nothing but its work, in the claim's volume."""
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "state", "persistentVolumeClaim": {"claimName": "isobuilder"}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def object_name(text: str) -> str:
    """Return a DNS label for ``text``; what is too long ends in a part of its digest instead."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[: _NAME_LIMIT - 9].rstrip('-')}-{Digest.of(text.encode()).hex[:8]}"
