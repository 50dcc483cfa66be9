"""One folder of secrets, and several who need it at once."""

from __future__ import annotations

import stat
import subprocess
import threading
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import locked
from isobuilder.model.cluster import Cluster
from isobuilder.model.cluster_checks import load_cluster
from isobuilder.nodeconfig.access import Access
from isobuilder.nodeconfig.kubeconfig import write_kubeconfig
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


def authority(folder: Path, *options: str, key: str = "rsa:2048", ca: str = "true") -> None:
    """Make an authority in ``folder`` as somebody else would."""
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-newkey", key, "-nodes", "-subj", "/CN=site"]
    command += ["-addext", f"basicConstraints=critical,CA:{ca}", *options]
    command += ["-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt")]
    subprocess.run(command, check=True, capture_output=True)


CURVE = ("-pkeyopt", "ec_paramgen_curve:P-256")


@pytest.mark.parametrize(("key", "options"), [("rsa:2048", ()), ("ec", CURVE)])
def test_an_authority_of_the_site_is_taken(
    cluster: Cluster, tmp_path: Path, key: str, options: tuple[str, ...]
) -> None:
    folder = tmp_path / "secrets"
    authority(folder, *options, key=key)
    found = find_access(cluster, folder).authority
    assert found is not None
    assert found.certificate == (folder / "ca.crt").read_text()


@pytest.mark.parametrize(
    ("key", "ca", "fact"),
    [
        ("rsa:2048", "false", "not the certificate of an authority, which says CA:TRUE"),
        ("ed25519", "true", "its key is neither of RSA nor of ECDSA"),
    ],
)
def test_an_authority_that_kubeadm_would_refuse_is_refused(
    cluster: Cluster, tmp_path: Path, key: str, ca: str, fact: str
) -> None:
    folder = tmp_path / "secrets"
    authority(folder, key=key, ca=ca)
    with pytest.raises(InputError, match=rf"ca\.crt: {fact}") as caught:
        find_access(cluster, folder)
    assert "remove it and its key to have new ones" in str(caught.value.hint)


def test_an_authority_that_has_ended_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    authority(folder)
    path = str(folder / "ca.crt")
    sign = ["openssl", "x509", "-in", path, "-signkey", str(folder / "ca.key")]
    subprocess.run([*sign, "-days", "-1", "-out", path], check=True, capture_output=True)
    with pytest.raises(InputError, match=r"ca\.crt: it ended at \w+ +\d+ .* GMT$"):
        find_access(cluster, folder)


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_an_authority_in_another_form_than_pem_is_refused(
    cluster: Cluster, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "secrets"
    authority(folder)
    path = str(folder / name)
    command = "x509" if name == "ca.crt" else "pkey"
    form = ["openssl", command, "-in", path, "-outform", "DER"]
    data = subprocess.run(form, check=True, capture_output=True).stdout
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=rf"{name}: expected .* in PEM form"):
        find_access(cluster, folder)


def test_a_certificate_with_its_private_key_is_not_written_to_nodes_or_people(
    cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    authority(folder)
    with (folder / "ca.crt").open("a") as file:
        file.write((folder / "ca.key").read_text())
    fact = r"ca\.crt: expected certificates in PEM form, whole, and nothing else"
    with pytest.raises(InputError, match=fact):
        find_access(cluster, folder)
    with pytest.raises(InputError, match=fact):
        write_kubeconfig(cluster, folder, tmp_path / "admin.conf", user="kim", days=1)
    assert not (tmp_path / "admin.conf").exists()


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
