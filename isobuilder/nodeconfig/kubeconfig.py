"""A kubeconfig for people, made from the secrets of a cluster without asking any node."""

from __future__ import annotations

import base64
import re
import secrets
import tempfile
from pathlib import Path

from isobuilder.documents.text import yaml_text
from isobuilder.errors import InputError
from isobuilder.files import read_bytes, write_whole
from isobuilder.model.cluster import Cluster
from isobuilder.nodeconfig.access import check_certificates
from isobuilder.nodeconfig.secrets import CA_CERTIFICATE, CA_KEY
from isobuilder.run import find_program, run

_SECONDS = 60.0
_EXTENSIONS = """\
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = clientAuth
"""


def write_kubeconfig(cluster: Cluster, folder: Path, target: Path, *, user: str, days: int) -> None:
    """Write to ``target`` what lets ``user`` do anything in ``cluster`` for so many days.

    ``folder`` holds the certificate authority that the cluster was made with.

    Raises:
        InputError: the authority is not there, or the cluster's API has no address.
        EnvironmentProblem: openssl is not there, or ``target`` cannot be written.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.@-]{0,61}[a-z0-9])?", user):
        raise InputError(f"{user[:60]!r} is no name of a user", hint="such as admin or kim@example")
    if cluster.api is None:
        raise InputError(
            "the cluster's API has no address", hint="give the cluster file an endpoint"
        )
    if not (folder / CA_CERTIFICATE).exists() or not (folder / CA_KEY).exists():
        raise InputError(
            f"{folder}: no {CA_CERTIFICATE} and {CA_KEY} of the cluster there",
            hint="take /etc/kubernetes/admin.conf of a control plane instead",
        )
    place = folder / CA_CERTIFICATE
    check_certificates(read_bytes(place, 1024 * 1024).decode("utf-8", "replace"), str(place))
    # The group that kubeadm makes administrators since 1.29; it can be taken away, the other not.
    group = "kubeadm:cluster-admins" if cluster.kubernetes.minor >= 29 else "system:masters"
    find_program("openssl")
    with tempfile.TemporaryDirectory(prefix="isobuilder-") as name:
        work = Path(name)  # which only its owner enters
        (work / "extensions").write_text(_EXTENSIONS, encoding="ascii")
        new: list[str | Path] = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
        new += ["-keyout", work / "key", "-out", work / "request"]
        run([*new, "-subj", f"/O={group}/CN={user}"], timeout=_SECONDS)
        sign: list[str | Path] = ["openssl", "x509", "-req", "-in", work / "request"]
        sign += ["-CA", folder / CA_CERTIFICATE, "-CAkey", folder / CA_KEY, "-days", str(days)]
        sign += ["-set_serial", f"0x{secrets.token_hex(8)}", "-extfile", work / "extensions"]
        run([*sign, "-out", work / "certificate"], timeout=_SECONDS)
        text = _text(cluster, user, folder / CA_CERTIFICATE, work / "certificate", work / "key")
    write_whole(target, text.encode(), private=True)


def _text(cluster: Cluster, user: str, authority: Path, certificate: Path, key: Path) -> str:
    """Return the kubeconfig. Source: Kubernetes, kubeconfig (v1)."""

    def data(path: Path) -> str:
        return base64.b64encode(read_bytes(path, 1024 * 1024)).decode()

    context = f"{user}@{cluster.name}"
    server = {"certificate-authority-data": data(authority), "server": f"https://{cluster.api}"}
    credentials = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
    return yaml_text(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster.name, "cluster": server}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": context, "context": {"cluster": cluster.name, "user": user}}],
            "current-context": context,
        }
    )
