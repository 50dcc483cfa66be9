"""More than two machines on one private network."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.machine.qemu import Machine, start
from tests.boot.conftest import Booted, seed
from tests.boot.host import KVM

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(3600)]

REACH = """#cloud-config
hostname: n{number}
write_files:
  - path: /var/lib/cloud/scripts/per-boot/reach
    permissions: "0755"
    content: |
      #!/bin/sh
      private=$(ip -brief link | awk '$3 ~ /^52:54:00:6b:01:/ {{ print $1 }}')
      ip address add 10.9.0.{number}/24 dev "$private"
      ip link set "$private" up
      for other in {others}; do
          count=0
          # The others may take minutes longer to come up.
          until ping -c 1 -W 2 "10.9.0.$other" > /dev/null || [ $count -ge 200 ]; do
              count=$((count + 1))
          done
          [ $count -ge 200 ] || echo "<4>report reached=$other" > /dev/kmsg
          sleep 0.1
      done
"""


def test_three_machines_reach_each_other(iso: Path, tmp_path: Path) -> None:
    numbers = (1, 2, 3)
    machines = []
    for number in numbers:
        others = [other for other in numbers if other != number]
        text = REACH.format(number=number, others=" ".join(map(str, others)))
        disc = seed(tmp_path / f"seed{number}.iso", text)
        machines.append(Machine(f"node{number}", iso, number=number, seed=disc))
    outcomes = start(machines, logs=tmp_path, until="cloud-init done", timeout=1800, kvm=KVM)
    for number, outcome in zip(numbers, outcomes, strict=True):
        text = Booted(outcome).text
        assert not outcome.failed, text[-4000:]
        for other in numbers:
            assert (f"report reached={other}\n" in text) == (other != number), text[-4000:]
