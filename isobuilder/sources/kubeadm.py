"""Which images a Kubernetes version needs: kubeadm itself knows, and else our table."""

from __future__ import annotations

import logging
import platform
import shutil
import tempfile
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.formats.kube import KubeVersion, core_images
from isobuilder.formats.reference import ImageReference
from isobuilder.progress import Progress
from isobuilder.run import run
from isobuilder.store import Blob

log = logging.getLogger(__name__)

_HOSTS = {"x86_64": "amd64", "aarch64": "arm64"}
_TIMEOUT = 60.0  # seconds; kubeadm answers in one


def wanted_images(
    version: KubeVersion, architecture: str, kubeadm: Blob | None, progress: Progress
) -> tuple[str, ...]:
    """Return the images of a cluster of ``version``, as kubeadm names them.

    The locked kubeadm is run when it is there and made for this machine. Otherwise the answer comes
    from the table of known patches, and ``progress`` is told so.

    Raises:
        InputError: kubeadm cannot be run and the table does not know this patch.
    """
    known = core_images(version)
    reason = _why_not_run(architecture, kubeadm)
    if reason is None and kubeadm is not None:
        try:
            told = _ask(kubeadm, version)
        except EnvironmentProblem as error:
            reason = f"kubeadm could not be run ({error})"
        else:
            if known is not None and sorted(told) != sorted(known):
                log.warning(
                    "kubeadm %s names other images than our table; taking kubeadm's", version
                )
            return told
    if known is None:
        raise InputError(
            f"which images Kubernetes {version} needs is not known here: {reason}",
            hint="lock on a machine of that architecture, or name the images in images.extra",
        )
    progress.step(f"images of Kubernetes {version} from the built-in table: {reason}")
    return known


def _why_not_run(architecture: str, kubeadm: Blob | None) -> str | None:
    if kubeadm is None:
        return "the recipe has no k8s/kubeadm"
    host = _HOSTS.get(platform.machine())
    if host != architecture:
        return f"kubeadm is for {architecture}, this machine is {platform.machine()}"
    return None


def _ask(kubeadm: Blob, version: KubeVersion) -> tuple[str, ...]:
    """Run ``kubeadm config images list``; the version is given, so that it asks no network."""
    with tempfile.TemporaryDirectory(prefix="isobuilder-kubeadm-") as folder:
        program = Path(folder) / "kubeadm"
        shutil.copyfile(kubeadm.path, program)
        program.chmod(0o700)
        output = run(
            [program, "config", "images", "list", f"--kubernetes-version=v{version}"],
            timeout=_TIMEOUT,
            cwd=Path(folder),
            env={"HOME": folder},
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
    return lines
