"""One folder of secrets, and several who need it at once."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem
from isobuilder.files import locked
from isobuilder.model.cluster import Cluster
from isobuilder.model.cluster_checks import load_cluster
from isobuilder.nodeconfig.access import Access
from isobuilder.nodeconfig.secrets import find_access, make_secrets

CLUSTER = """\
schema: 1
kubernetes: "1.34.12"
endpoint: api.example
nodes:
  - {name: one, role: first-control-plane}
  - {name: two, role: control-plane}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER, encoding="utf-8")
    return load_cluster(path)


def test_all_who_need_new_secrets_at_once_get_the_same(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    ready = threading.Barrier(6)
    found: list[Access] = []

    def ask() -> None:
        ready.wait()
        found.append(find_access(cluster, folder))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({(one.token, one.certificate_key, one.ca_hash) for one in found}) == 1
    assert {path.name for path in folder.iterdir()} == {
        "token",
        "certificate-key",
        "ca.crt",
        "ca.key",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_folder_that_is_complete_need_not_be_writable(
    cluster: Cluster, tmp_path: Path, read_only: object
) -> None:
    folder = tmp_path / "secrets"
    made = find_access(cluster, folder)
    assert callable(read_only)
    read_only(folder)
    assert find_access(cluster, folder) == made


def test_a_run_that_never_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isobuilder.nodeconfig.secrets._SECONDS", 0.2)
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(EnvironmentProblem, match=r"\.lock: another run has held it for 0\.2 s"),
    ):
        make_secrets(tmp_path, authority=False)
