"""Two versions of a real program: faults of the prediction cost size only, so size is watched."""

from __future__ import annotations

import pytest

from tests.delta.golang.golden import GO
from tools.lab.place import lab_dir

BEFORE, AFTER = "kubernetes-1.37.1", "kubernetes-1.37.2"
SIZES = {"kube-scheduler": 2000, "kubelet": 1000}
"""Bytes that a delta may have at most."""

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not (lab_dir() / "programs" / AFTER / "kubelet").is_file(), reason="run make lab first"
    ),
]


@pytest.mark.parametrize("program", SIZES)
def test_the_delta_of_a_known_pair_has_not_grown(program: str) -> None:
    pytest.importorskip("numpy")
    programs = lab_dir() / "programs"
    old, new = ((programs / version / program).read_bytes() for version in (BEFORE, AFTER))
    made = GO.make(old, new)
    assert made is not None
    assert len(made) <= SIZES[program]
    assert GO.apply(old, made, len(new)) == new
