"""The page about schedules is typed into a real systemd, whose timer runs from then on.

The systemd has process, mount and other name spaces of its own: what it changes is gone with
it, but for empty control groups.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.demo.content import recipe
from tests.fakes.upstream import FakeUpstream
from tests.jobs.pages import blocks_of
from tests.pipeline.site import Site
from tools.lab.place import lab_dir

PROJECT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
ISO = "kubernetes-v1.34.8-mold-cks-amd64-r1"

START = r"""
set -eu
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs "$SCRATCH/layers"
for folder in /etc /opt /usr/local /var/lib /var/cache; do
  layer="$SCRATCH/layers/$(echo "$folder" | tr / _)"
  mkdir -p "$layer/new" "$layer/work"
  mount -t overlay overlay -o "lowerdir=$folder,upperdir=$layer/new,workdir=$layer/work" "$folder"
done
mkdir -p /opt/libraries "$SCRATCH/layers/units"
mount --bind "$LIBRARIES" /opt/libraries
# Nothing of this machine is started: only what a unit cannot do without.
cd /lib/systemd/system
cp basic.target sysinit.target timers.target sockets.target paths.target slices.target \
  shutdown.target umount.target network-online.target "$SCRATCH/layers/units"
mount --bind "$SCRATCH/layers/units" /lib/systemd/system
rm -rf /etc/systemd/system && mkdir /etc/systemd/system
cd "$SCRATCH"
export container=test
(
  until systemctl is-active --quiet basic.target; do sleep 0.1; done
  code=0
  bash -euxo pipefail "$SCRATCH/typed" > "$SCRATCH/said" 2>&1 || code=$?
  echo "$code" > "$SCRATCH/code.new"
  mv "$SCRATCH/code.new" "$SCRATCH/code"
) &
exec /lib/systemd/systemd --system --unit=basic.target --log-level=warning --log-target=null
"""


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    for name in ("unshare", "systemctl", "useradd", "runuser"):
        if not SYSTEMD.exists() or shutil.which(name) is None:
            return f"not installed: systemd, util-linux, passwd ({name})"
    version = [sys.executable, "-c", "import sys; print(sys.version_info[:2])"]
    same = {
        subprocess.run([python, *version[1:]], capture_output=True, text=True, check=False).stdout
        for python in (sys.executable, "/usr/bin/python3")
    }
    return None if len(same) == 1 else "the system's Python is another one than this"


_SECONDS = 900  # for what takes 20 where nothing else runs

pytestmark = [
    pytest.mark.timeout(_SECONDS + 300),
    pytest.mark.slow,
    pytest.mark.skipif(_missing() is not None, reason=str(_missing())),
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with FakeUpstream() as upstream:
        (tmp_path / "site").mkdir()
        made = Site(tmp_path / "site", upstream)
        yield made
        made.web.shutdown()
        made.web.server_close()


def typed(site: Site) -> str:
    """Return the blocks about systemd, with what a person edits between them."""
    mirrors = {name: list(places) for name, places in site.config.mirrors.items()}
    settings = json.dumps(
        {"mirrors": mirrors}
    )  # with retries: the service runs with little priority
    text = recipe().decode().replace('"1.34.12"', '"1.34.8"')
    lines = []
    for block in blocks_of("scheduled-builds.md"):
        if block.startswith("mkdir image"):
            break
        lines.append(block)
        if "pip install" in block:
            lines.append(
                "echo /opt/libraries > $(echo /opt/isobuilder/lib/python3*/site-packages)/x.pth\n"
            )
        if "schedule --format systemd" in block:
            lines.append(f"echo {shlex.quote(settings)} > /etc/isobuilder/config.yaml\n")
            lines.append("sed -i s/hold_days:.*/hold_days:\\ 0/ /etc/isobuilder/policy.yaml\n")
            more = "ended_minors: true\\nknown_bad: true\\narchitectures: [amd64]\\n"
            lines.append(f"printf '{more}' >> /etc/isobuilder/policy.yaml\n")
        if "recipe new" in block:
            made = "/var/lib/isobuilder/recipes/kubernetes-1.3"
            lines.append(f"rm {made}7.1.yaml; echo {shlex.quote(text)} > {made}4.8.yaml\n")
    lines.append("systemctl show isobuilder-sync.service --property Result,ExecMainStatus\n")
    lines.append(f"stat --format '%U %a %n' /var/lib/isobuilder/published/{ISO}.iso\n")
    lines.append("systemctl is-active isobuilder-sync.timer\n")
    return "".join(lines)


def typed_into_systemd(scratch: Path, text: str) -> str:
    """Type a text at a machine of its own, with the folder ``scratch``; return what it said."""
    (scratch / "layers").mkdir(parents=True)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "--wheel-dir", scratch, PROJECT], check=True, capture_output=True)
    (scratch / "typed").write_text(text)
    (scratch / "start").write_text(START)
    libraries = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    spaces = ["--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup"]
    machine = subprocess.Popen(
        ["unshare", *spaces, "bash", scratch / "start"],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
            "HOME": "/root",
            "SCRATCH": str(scratch),
            "LIBRARIES": str(libraries),
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        end = time.monotonic() + _SECONDS
        while not (scratch / "code").exists() and machine.poll() is None:
            if time.monotonic() > end:
                break
            time.sleep(0.1)
    finally:
        machine.kill()
        started = machine.communicate()[0].decode()
    said = (scratch / "said").read_text() if (scratch / "said").exists() else started
    assert (scratch / "code").exists(), said
    assert (scratch / "code").read_text() == "0\n", said
    return said


def test_the_page_leads_from_nothing_to_a_timer_that_runs(site: Site, tmp_path: Path) -> None:
    said = typed_into_systemd(tmp_path / "machine", typed(site))
    assert f"good: {ISO}: sha256:" in said
    assert "2 done, 0 failed" in said  # a lock and an ISO
    assert "Result=success\nExecMainStatus=0" in said
    assert f"isobuilder 644 /var/lib/isobuilder/published/{ISO}.iso" in said
    assert "isobuilder-sync.timer isobuilder-sync.service" in said
    assert said.rstrip().endswith("active")
    assert not Path("/opt/isobuilder").exists()


@pytest.mark.lab
def test_the_programs_that_locking_starts_run_under_the_service(tmp_path: Path) -> None:
    folder = lab_dir() / "programs"
    programs = (folder / "kubernetes-1.37.2/kubeadm", folder / "helm/helm")
    if not all(path.is_file() for path in programs):
        pytest.skip("run make lab first")
    lines = [
        *blocks_of("scheduled-builds.md")[:1],
        "unit=/etc/systemd/system/isobuilder-sync.service\n",
        "mkdir /opt/programs\n",
        # As a run does: a program comes by the network and is started where it was put.
        "echo 'exec 2> /var/lib/isobuilder/errors; cp /opt/programs/* /tmp/; cd /tmp; ",
        "./kubeadm config images list --kubernetes-version v1.37.2 > /var/lib/isobuilder/images; ",
        "./helm version --short > /var/lib/isobuilder/helm' > /opt/programs/script\n",
        f"cp {' '.join(map(str, programs))} /opt/programs; chmod -R a+rX /opt/programs\n",
        "upstream=/opt/isobuilder/lib/python3*/site-packages/isobuilder/jobs/templates\n",
        "sed 's|^ExecStart=.*|ExecStart=/bin/sh -eu /opt/programs/script|' "
        "$upstream/isobuilder-sync.service > $unit\n",
        "systemctl daemon-reload\n",
        "systemctl start isobuilder-sync.service || { cat /var/lib/isobuilder/errors; exit 1; }\n",
        "cat /var/lib/isobuilder/images /var/lib/isobuilder/helm\n",
    ]
    said = typed_into_systemd(tmp_path / "machine", "".join(lines))
    assert "registry.k8s.io/kube-apiserver:v1.37.2" in said
