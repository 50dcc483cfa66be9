"""The folder with the secrets of a cluster: found, or made once and kept.

Everything written here is for its owner only, and so are new folders.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import as_environment_problem, locked, private_folder, read_bytes, write_whole
from isobuilder.model.cluster import Cluster
from isobuilder.nodeconfig.access import (
    Access,
    Authority,
    check_certificate_key,
    check_certificates,
    check_token,
    new_certificate_key,
    new_token,
    public_key_hash,
)
from isobuilder.run import find_program, run

TOKEN, CERTIFICATE_KEY = "token", "certificate-key"
CA_CERTIFICATE, CA_KEY = "ca.crt", "ca.key"
TOKEN_VARIABLE, KEY_VARIABLE = "ISOBUILDER_NODE_TOKEN", "ISOBUILDER_NODE_CERTIFICATE_KEY"

_SECONDS = 60.0  # an authority is made in less than one

_PRIVATE_KEY = re.compile(r"-----BEGIN (RSA |EC )?PRIVATE KEY-----")

_CA_REQUEST = """\
[req]
prompt = no
distinguished_name = name
x509_extensions = authority
[name]
CN = kubernetes
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,digitalSignature,keyEncipherment,keyCertSign
subjectKeyIdentifier = hash
"""


def make_secrets(folder: Path, *, authority: bool) -> tuple[Path, ...]:
    """Make in ``folder`` what a new cluster needs and has not, and return all secrets' paths.

    Raises:
        InputError: a secret that is there has not the right form.
        EnvironmentProblem: ``folder`` may not be written, or openssl is not there.
    """
    _kept(folder, TOKEN, new_token)
    _kept(folder, CERTIFICATE_KEY, new_certificate_key)
    names = [TOKEN, CERTIFICATE_KEY]
    if authority:
        _authority(folder, makes=True)
        names += [CA_CERTIFICATE, CA_KEY]
    return tuple(folder / name for name in names)


def find_access(cluster: Cluster, folder: Path) -> Access:
    """Return the secrets of ``cluster``: of the environment, of ``folder``, or made and kept there.

    Only a cluster that begins with these nodes gets new ones.

    Raises:
        InputError: a secret is missing, or has not the right form.
        EnvironmentProblem: ``folder`` may not be written, or openssl is not there.
    """
    makes = cluster.first is not None
    token = _secret(folder, TOKEN, TOKEN_VARIABLE)
    if token is None and not makes:
        raise _missing("bootstrap token", folder / TOKEN, TOKEN_VARIABLE, "kubeadm token create")
    if token is None:
        token = _kept(folder, TOKEN, new_token)
    key = _secret(folder, CERTIFICATE_KEY, KEY_VARIABLE)
    if key is None and any(node.role == "control-plane" for node in cluster.nodes):
        if not makes:
            way = "kubeadm init phase upload-certs --upload-certs"
            early = f"before its data is made: isobuilder node secrets {folder}; once it runs, "
            raise _missing("certificate key", folder / CERTIFICATE_KEY, KEY_VARIABLE, way, early)
        key = _kept(folder, CERTIFICATE_KEY, new_certificate_key)
    authority, known = None, cluster.ca_hash
    if cluster.verify_ca and known is None:
        authority = _authority(folder, makes=makes)
        known = authority.hash
    return Access(token, key, authority, known if cluster.verify_ca else None)


def _missing(what: str, path: Path, variable: str, way: str, early: str = "") -> InputError:
    return InputError(
        f"no {what} to join with: neither {path} nor {variable} in the environment",
        hint=f"{early}on the first control plane: {way}",
    )


def _secret(folder: Path, name: str, variable: str) -> str | None:
    check = check_token if name == TOKEN else check_certificate_key
    if text := os.environ.get(variable):
        return check(text, variable)
    path = folder / name
    return check(_read_secret(path), str(path)) if path.exists() else None


def _read_secret(path: Path) -> str:
    return read_bytes(path, 1024 * 1024).decode("utf-8", "replace")


def _kept(folder: Path, name: str, make: Callable[[], str]) -> str:
    path = folder / name
    if not path.exists():
        with _alone(folder):
            if not path.exists():
                write_whole(path, f"{make()}\n".encode(), private=True)
    check = check_token if name == TOKEN else check_certificate_key
    return check(_read_secret(path), str(path))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from making secrets in ``folder`` meanwhile: all calls have to find the same."""
    lock = private_folder(folder) / ".lock"
    with as_environment_problem(folder), locked(lock, timeout=_SECONDS) as mine:
        if not mine:
            raise EnvironmentProblem(f"{lock}: another run has held it for {_SECONDS:g} s")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _authority(folder: Path, *, makes: bool) -> Authority:
    """Return the authority in ``folder``; a cluster that begins gets a new one if there is none."""
    certificate, key = folder / CA_CERTIFICATE, folder / CA_KEY
    if not certificate.exists() and not makes:
        raise InputError(
            f"nothing says which certificate authority the cluster has: no {certificate}",
            hint="put the cluster's /etc/kubernetes/pki/ca.crt there, or give its hash as ca_hash "
            "(--set ca_hash=sha256:...); verify_ca: false joins whoever answers",
        )
    if makes and not (certificate.exists() and key.exists()):
        with _alone(folder):
            if not certificate.exists() and not key.exists():
                _new_authority(folder)
    if makes and not (certificate.exists() and key.exists()):
        raise InputError(
            f"{folder}: only one of {CA_CERTIFICATE} and {CA_KEY}; a new cluster needs both",
            hint="put the other one there, or remove both to have new ones",
        )
    text = check_certificates(_read_secret(certificate), str(certificate))
    public = _public_key(certificate, "x509", "-noout", "-pubkey")
    _check_authority(certificate)
    if key.exists() and _public_key(key, "pkey", "-pubout") != public:
        raise InputError(
            f"{folder}: {CA_KEY} is not the key of {CA_CERTIFICATE}",
            hint="put the right one there, or remove both to have new ones",
        )
    return Authority(
        certificate=text,
        hash=public_key_hash(public, str(certificate)),
        key=_read_secret(key) if key.exists() else None,
    )


def _public_key(path: Path, command: str, *options: str) -> str:
    """Return the public key in a certificate (``x509``) or of a private key (``pkey``)."""
    what = "certificate" if command == "x509" else "private key without a passphrase"
    mistake = InputError(f"{path}: expected a {what} in PEM form")
    # openssl reads other forms too, and kubeadm does not.
    if command == "pkey" and not _PRIVATE_KEY.search(_read_secret(path)):
        raise mistake
    find_program("openssl")
    try:
        # No passphrase, and nobody is asked for one: kubeadm cannot ask either.
        argv: list[str | Path] = ["openssl", command, "-inform", "PEM", "-in", path]
        argv += [*options, "-passin", "pass:"]
        return run(argv, timeout=_SECONDS)
    except EnvironmentProblem as error:
        raise mistake from error


def _check_authority(certificate: Path) -> None:
    """Refuse a certificate that kubeadm does not take for an authority.

    Source: Kubernetes ``cmd/kubeadm/app/phases/certs/certs.go`` and its ``pkiutil``.
    """
    argv: list[str | Path] = ["openssl", "x509", "-inform", "PEM", "-in", certificate, "-noout"]
    if "CA:TRUE" not in run([*argv, "-ext", "basicConstraints"], timeout=_SECONDS):
        raise InputError(
            f"{certificate}: not the certificate of an authority, which says CA:TRUE",
            hint="make it with basicConstraints = critical,CA:true, or remove it and its key to "
            "have new ones",
        )
    end = run([*argv, "-enddate"], timeout=_SECONDS).strip().partition("=")[2]
    try:
        run([*argv, "-checkend", "0"], timeout=_SECONDS)
    except EnvironmentProblem as error:
        raise InputError(
            f"{certificate}: it ended at {end}",
            hint="renew it, or remove it and its key to have new ones",
        ) from error


def _new_authority(folder: Path) -> None:
    """Make a certificate authority as kubeadm would, so that nodes can know it beforehand."""
    find_program("openssl")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".isobuilder-ca-") as name:
        work = Path(name)
        (work / "request").write_text(_CA_REQUEST, encoding="ascii")
        argv: list[str | Path] = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
        argv += ["-days", "3650", "-set_serial", f"0x{secrets.token_hex(8)}"]
        argv += ["-config", work / "request", "-keyout", work / CA_KEY]
        run([*argv, "-out", work / CA_CERTIFICATE], timeout=_SECONDS)
        for file in (CA_KEY, CA_CERTIFICATE):  # the certificate last: with it there are both
            write_whole(folder / file, (work / file).read_bytes(), private=True)
