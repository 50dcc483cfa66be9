"""The lab's Kubernetes in the place of the generated release: the same rows, measured on it.

Programs and images are those that upstream's source gives; what nobody has is a stand-in
(``tools/lab/README.md``), so this ISO is half as large as one of upstream's releases.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.ground import Ground, say
from bench.measure import BenchError
from bench.payload import Payload
from isobuilder.model.loading import load_lock
from tools.lab.images import read_catalogue
from tools.lab.place import HERE, lab_dir
from tools.lab.upstream import lab_upstream

VERSION, BEFORE = "1.37.2", "1.37.1"
RECIPES = HERE / "recipes"


@dataclass
class LabGround(Ground):
    """The ground of the lab's release; there is one size of it."""

    def called(self, size: float) -> str:  # noqa: ARG002 - of the generated ones
        """See ``Ground``."""
        return f"Kubernetes {VERSION} of the lab"

    @cached_property
    def payload(self) -> Payload:
        """The lab's files and the images that the recipe's lock names; nothing is copied.

        Raises:
            BenchError: the lab is not prepared.
        """
        lab = lab_dir()
        if not (lab / "ready").is_file():
            raise BenchError(f"{lab}: the lab is not prepared: make lab")
        root = self.work / "payload"
        root.mkdir(parents=True)
        (root / "files").symlink_to(lab / "files")
        (root / "blobs").symlink_to(lab / "images/blobs")
        release = "dl.k8s.io/release/v{}/bin/linux/amd64/kubeadm"
        other = root / "changed" / release.format(VERSION)
        other.parent.mkdir(parents=True)
        shutil.copyfile(lab / "files" / release.format(BEFORE), other)
        wanted = {image.reference for image in load_lock(self.lock(0)).images}
        found = read_catalogue(lab / "images/catalogue.json")
        tagged = [image for image in found if image.reference in wanted]
        return Payload(root, tuple(tagged), len(tagged))

    def lock(self, size: float) -> Path:  # noqa: ARG002 - see called
        """Return the lock of the recipe, made from what the lab serves."""
        folder = self.work / "locks"
        target = folder / f"kubernetes-{VERSION}.amd64.lock.json"
        if not target.is_file():
            say(f"lock: {self.called(0)}")
            shutil.copytree(RECIPES, folder, dirs_exist_ok=True)
            with lab_upstream() as upstream:
                recipe = folder / f"kubernetes-{VERSION}.yaml"
                config, own = upstream.config_path, self.work / "lock-store"
                self.product("lock", recipe, "--config", config, store=own)
        return target
