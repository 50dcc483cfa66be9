"""containerd, told where images are by the text that a site gives for it, pulls them by name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from html import unescape
from pathlib import Path

_PLACE = re.compile(r"^# /etc/containerd/certs\.d/(\S+)/hosts\.toml$", re.M)


def hosts_files(text: str) -> dict[str, str]:
    """Return the ``hosts.toml`` of each registry that settings have, by the registry's name."""
    _, *parts = _PLACE.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def hosts_on_page(page: str, images: Iterable[str]) -> dict[str, str]:
    """Return it for the registries of ``images`` as the page of ``site serve`` has it for one."""
    told = unescape(page.partition("<pre>")[2].partition("</pre>")[0])
    ((known, text),) = hosts_files(told).items()
    registries = {name.partition("/")[0] for name in images}
    return {registry: text.replace(known, registry) for registry in registries}


def assert_all_are_pulled(
    ctr: Sequence[str], hosts: Mapping[str, str], images: Mapping[str, str], folder: Path
) -> None:
    """Pull ``images``, digests by name, into an empty containerd and look at what they became."""
    for registry, text in hosts.items():
        (folder / registry).mkdir(parents=True)
        (folder / registry / "hosts.toml").write_text(text)
    words = [*ctr, "--namespace", "k8s.io"]
    for name in images:
        fetch = [*words, "content", "fetch", "--hosts-dir", str(folder), name]
        done = subprocess.run(fetch, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
    listed = subprocess.run(
        [*words, "images", "ls"], capture_output=True, text=True, timeout=60, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    assert {row[0]: row[2] for row in rows} == dict(images)
