"""What one begins with: units, pipelines, manifests and a container file, written for one place.

They are whole files that their services' own checkers read; what differs from place to place
stands in them between at-signs.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import PurePosixPath

from isobuilder import __version__
from isobuilder.errors import InputError
from isobuilder.formats.reference import ImageReference

STYLES = {  # style -> where each of its templates goes
    "systemd": {
        "isobuilder-sync.service": "systemd/system/isobuilder-sync.service",
        "isobuilder-sync.timer": "systemd/system/isobuilder-sync.timer",
        "policy-publish.yaml": "isobuilder/policy.yaml",
        "config.yaml": "isobuilder/config.yaml",
    },
    "github": {
        "github.yml": ".github/workflows/isobuilder.yml",
        "policy-propose.yaml": "policy.yaml",
    },
    "gitlab": {"gitlab.yml": ".gitlab-ci.yml", "policy-propose.yaml": "policy.yaml"},
    "kubernetes": {"kubernetes.yaml": "isobuilder.yaml"},
    "containerfile": {"Containerfile": "Containerfile"},
}

PROGRAM = "/opt/isobuilder/bin/isobuilder"
IMAGE = "registry.example/isobuilder:" + __version__

# What stands between quotes of YAML, shells and units alike, and means itself there.
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._~:/@+=<>!,;\[\]-]*|\./[A-Za-z0-9._~/+-]+")
_PROGRAM = re.compile(r"(/[A-Za-z0-9._+-]+)+")


def checked_requirement(text: str) -> str:
    """Return what pip is told to install, if every file of ours can hold it.

    Raises:
        InputError: it has characters that would mean something to a shell.
    """
    if not _REQUIREMENT.fullmatch(text) or ("://" in text and "@" in text.partition("://")[2]):
        raise InputError(
            f"{text[:80]!r} is nothing that a pipeline is told to install",
            hint=f"such as isobuilder=={__version__}, ./isobuilder-{__version__}-py3-none-any.whl "
            "or an address without a login",
        )
    return text


def checked_image(text: str) -> str:
    """Return the name of an image.

    Raises:
        InputError: it is none, or has neither tag nor digest.
    """
    try:
        ImageReference.parse(text)
    except ValueError as error:
        raise InputError(f"--image: {error}") from None
    if not {":", "@"} & set(text.rpartition("/")[2]):
        raise InputError(
            f"--image: no tag or digest in {text!r}", hint="it would be another one every day"
        )
    return text


def _checked_program(text: str) -> str:
    """Return the path of the program that a unit starts.

    Raises:
        InputError: it is not absolute, or has characters that mean something to systemd.
    """
    if not _PROGRAM.fullmatch(text) or ".." in PurePosixPath(text).parts:
        raise InputError(
            f"--program: {text[:80]!r} is no absolute path of letters, digits, dots and dashes"
        )
    return text


def schedule_files(
    style: str, *, newest: str, install: str, image: str = IMAGE, program: str = PROGRAM
) -> dict[str, str]:
    """Return the files of a style by their paths: what starts isobuilder by itself from now on.

    ``newest`` is the version whose shipped recipe is the first one where there is none;
    ``install`` is what pip takes, or in a container file also the folder of a wheelhouse: ./NAME/

    Raises:
        InputError: a value cannot stand in these files.
    """
    values = {
        "VERSION": __version__,
        "INSTALL": checked_requirement(install),
        **_in_an_image(install),
        "IMAGE": checked_image(image),
        "PROGRAM": _checked_program(program),
        "NEWEST": newest,
    }
    folder = files("isobuilder.jobs") / "templates"
    return {
        target: re.sub(
            r"@([A-Z]+)@",
            lambda match: values[match[1]],
            (folder / name).read_text(encoding="utf-8"),
        )
        for name, target in STYLES[style].items()
    }


def _in_an_image(install: str) -> dict[str, str]:
    """Return how a container file installs it; a folder is a wheelhouse, and needs no network."""
    if install.startswith("./") and install.endswith("/"):
        what = "--no-index --require-hashes \\\n      --find-links /wheelhouse"
        return {
            "BEFORE": "",
            "MOUNT": f"--mount=type=bind,source={install[2:-1]},target=/wheelhouse \\\n    ",
            "WHAT": f"{what} --requirement /wheelhouse/requirements.txt",
        }
    name = PurePosixPath(install).name
    copy = f"COPY {install} /opt/{name}\n" if install.endswith(".whl") else ""
    told = f"/opt/{name}" if copy else install
    return {"BEFORE": f'{copy}ARG ISOBUILDER="{told}"\n', "MOUNT": "", "WHAT": '"$ISOBUILDER"'}
