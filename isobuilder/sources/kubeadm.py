"""Which images a Kubernetes version needs: a kubeadm that may be trusted knows, or else our table.

A kubeadm that only a mirror vouches for is never started: its checksum comes from the same hands.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from isobuilder.digest import BlobLike
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.reference import ImageReference
from isobuilder.progress import Progress
from isobuilder.rules.pairings import core_images
from isobuilder.run import run_confined
from isobuilder.store import copy_to

log = logging.getLogger(__name__)

PATH = "k8s/kubeadm"
"""Where it is on an ISO."""

_TIMEOUT = 60.0  # seconds; kubeadm answers in one
_MOST_OUTPUT = 64 * 1024  # bytes; the answer is a dozen lines


@dataclass(frozen=True, slots=True)
class CoreImages:
    """The images of a cluster, as kubeadm names them."""

    names: tuple[str, ...]
    of_kubeadm: bool  # it alone says so; else our table does


def wanted_images(version: KubeVersion, kubeadm: BlobLike | str, progress: Progress) -> CoreImages:
    """Return the images of a cluster of ``version``.

    ``kubeadm`` is one for this machine whose bytes are vouched for, or the reason why there is
    none. It is asked; without it the answer comes from the table of known patches. ``progress`` is
    told which it was.

    Raises:
        InputError: there is no kubeadm to ask and the table does not know this patch.
    """
    known = core_images(version)
    if not isinstance(kubeadm, str):
        try:
            told, shut_in = _ask(kubeadm, version)
        except EnvironmentProblem as error:
            kubeadm = f"kubeadm could not be run ({error})"
        else:
            how = "shut in" if shut_in else "not shut in: this machine has no user namespaces"
            progress.step(f"images of Kubernetes {version} from kubeadm itself, {how}")
            if known is not None and sorted(told) == sorted(known):
                return CoreImages(known, of_kubeadm=False)
            if known is not None:
                log.warning(
                    "kubeadm %s names other images than our table; taking kubeadm's", version
                )
            return CoreImages(told, of_kubeadm=True)
    if known is None:
        raise InputError(
            f"which images Kubernetes {version} needs is not known here: {kubeadm}",
            hint="give k8s/kubeadm its sha256 in the recipe, lock where its own https address can "
            "be reached, or name the images in images.extra",
        )
    progress.step(f"images of Kubernetes {version} from the built-in table: {kubeadm}")
    return CoreImages(known, of_kubeadm=False)


def _ask(kubeadm: BlobLike, version: KubeVersion) -> tuple[tuple[str, ...], bool]:
    """Run ``kubeadm config images list``; the version is given, so that it asks no network."""
    with tempfile.TemporaryDirectory(prefix="isobuilder-kubeadm-") as name:
        folder = Path(name)
        copy_to(kubeadm, folder / "kubeadm")
        (folder / "kubeadm").chmod(0o500)
        output, shut_in = run_confined(
            folder,
            ["kubeadm", "config", "images", "list", f"--kubernetes-version=v{version}"],
            timeout=_TIMEOUT,
            most_output=_MOST_OUTPUT,
        )
    lines = tuple(line.strip() for line in output.splitlines() if line.strip())
    for line in lines:
        try:
            ImageReference.parse(line)
        except ValueError as error:
            raise EnvironmentProblem(
                f"kubeadm printed something else than images: {error}"
            ) from error
    if not lines:
        raise EnvironmentProblem("kubeadm printed no images")
    return lines, shut_in
