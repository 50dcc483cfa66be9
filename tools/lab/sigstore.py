"""A real Sigstore on loopback, of the programs that its makers release as Go modules.

Fulcio with an authority of its own, a log of certificates (tesseract), Rekor of version 1 (with
trillian and MariaDB) and of version 2, a timestamp authority, and whoever logs people in: the
only part of ours, which gives a token to anybody who asks.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from tools.lab.golang import Go, built
from tools.lab.issuer import Issuer
from tools.lab.place import LabError, lab_dir, say
from tools.lab.servers import free_port

MODULES = (
    *("cosign", "fulcio", "rekor", "rekor-tiles", "tesseract", "timestamp-authority", "trillian"),
)
_NAMED = {"tesseract": "tesseract", "rekor-tiles": "rekor-tiles"}  # whose program is called posix
START = "2020-01-01T00:00:00Z"
PASSWORD = "lab"
_PATIENCE = 60.0  # seconds until a server answers


def prepare() -> tuple[Path, Path]:
    """Build every program once; return the folder of links to them, and trillian's tables."""
    lab = lab_dir()
    go = Go(lab / "go")
    folder = lab / "sigstore"
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        say(f"sigstore: {name}")
        for program in built(lab, go, name).iterdir():
            link = folder / (_NAMED.get(name, name) if program.name == "posix" else program.name)
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    tables = (go.root / "modules").glob("github.com/google/trillian@*/storage/mysql/schema/*.sql")
    return folder, max(tables)


@dataclass
class RealSigstore:
    """Running servers, and how cosign reaches them."""

    folder: Path
    programs: Path
    issuer: Issuer
    urls: dict[str, str]
    environment: dict[str, str]

    @property
    def root(self) -> Path:
        """The trusted root of these servers."""
        return self.folder / "trusted_root.json"

    def cosign(self, *arguments: str | Path) -> str:
        """Run cosign; what it says ends up in the error."""
        done = subprocess.run(
            [self.programs / "cosign", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if done.returncode:
            raise LabError(f"cosign {arguments[0]}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def signing_config(self, *, version: int) -> Path:
        """Return the file that leads cosign to Rekor of ``version``."""
        path = self.folder / f"signing-config-{version}.json"
        told = f"start-time={START},operator=lab"
        rekor = self.urls[f"rekor-{version}"]
        more = []
        if version == 2:
            tsa = f"{self.urls['tsa']}/api/v1/timestamp"
            more = [f"--tsa=url={tsa},api-version=1,{told}", "--tsa-config=ANY"]
        self.cosign(
            *("signing-config", "create", f"--out={path}"),
            f"--fulcio=url={self.urls['fulcio']},api-version=1,{told}",
            f"--oidc-provider=url={self.issuer.url},api-version=1,{told}",
            f"--rekor=url={rekor},api-version={version},{told}",
            "--rekor-config=ANY",
            *more,
        )
        return path

    def options(self, mail: str, *, version: int = 1) -> list[str]:
        """Return what every signing command of cosign gets."""
        return [
            f"--signing-config={self.signing_config(version=version)}",
            f"--trusted-root={self.root}",
            f"--identity-token={self.issuer.token(mail)}",
            "--yes",
        ]


@contextmanager
def running(programs: Path, folder: Path, schema: Path) -> Iterator[RealSigstore]:
    """Start everything below ``folder`` and stop it at the end.

    ``schema`` is trillian's storage.sql.

    Raises:
        LabError: a program is missing, or a server does not answer in time.
    """
    with ExitStack() as stack:
        issuer = Issuer()
        stack.enter_context(issuer.serving())
        start = partial(_start, stack, folder)
        urls = {"ct": _certificate_log(start, programs, folder)}
        urls["fulcio"] = _fulcio(start, programs, folder, issuer, urls["ct"])
        urls["tsa"] = _stamps(start, programs, folder)
        urls["rekor-2"] = _rekor_2(start, programs, folder)
        urls["rekor-1"] = _rekor_1(start, programs, folder, schema)
        environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "TUF_ROOT": str(folder)}
        found = RealSigstore(folder, programs, issuer, urls, environment)
        _write_root(found)
        yield found


def _start(stack: ExitStack, folder: Path, name: str, *command: str | Path) -> None:
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)


def _answers(url: str, log: Path) -> bytes:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError as error:
            if time.monotonic() > end:
                text = log.read_text(errors="replace")[-1500:]
                raise LabError(f"{url}: {error}: {text}") from error
            time.sleep(0.1)


def _listens(port: int, log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise LabError(f"port {port}: {log.read_text(errors='replace')[-1500:]}") from error
            time.sleep(0.1)


def _key_file(path: Path, key: Any, password: str | None = None) -> Path:
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        lock = serialization.BestAvailableEncryption(password.encode())
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, lock))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    path.with_suffix(".pub").write_bytes(key.public_key().public_bytes(pem, public))
    return path


def _certificate_log(start: Any, programs: Path, folder: Path) -> str:
    key = _authority(folder)
    own = ec.generate_private_key(ec.SECP256R1())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    path = folder / "ct.key"
    path.write_bytes(own.private_bytes(pem, form, serialization.NoEncryption()))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "ct.pub").write_bytes(own.public_key().public_bytes(pem, public))
    port = free_port()
    start(
        "ct",
        programs / "tesseract",
        *("--origin=ct.lab", "--path_prefix=ct.lab", f"--http_endpoint=127.0.0.1:{port}"),
        *(f"--private_key={path}", f"--roots_pem_file={key}", f"--storage_dir={folder / 'ct'}"),
        *(
            "--checkpoint_interval=1s",
            "--batch_max_age=100ms",
            "--checkpoint_republish_interval=1m",
        ),
    )
    _listens(port, folder / "ct.log")
    return f"http://127.0.0.1:{port}/ct.lab"


def _authority(folder: Path) -> Path:
    """Make the certificate authority, and return its certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, "lab's authority"),
        ]
    )
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        ),
        False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "authority.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _key_file(folder / "authority.key", key, PASSWORD)
    return path


def _fulcio(start: Any, programs: Path, folder: Path, issuer: Issuer, ct: str) -> str:
    one = {"IssuerURL": issuer.url, "ClientID": "sigstore", "Type": "email"}
    config = folder / "fulcio.json"
    config.write_text(json.dumps({"OIDCIssuers": {issuer.url: one}}))
    port = free_port()
    start(
        "fulcio",
        *(programs / "fulcio", "serve", "--ca=fileca", f"--config-path={config}"),
        *(f"--fileca-cert={folder / 'authority.pem'}", f"--fileca-key={folder / 'authority.key'}"),
        *(f"--fileca-key-passwd={PASSWORD}", "--fileca-watch=false"),
        *(f"--ct-log-url={ct}", f"--ct-log-public-key-path={folder / 'ct.pub'}"),
        *("--host=127.0.0.1", f"--port={port}", "--grpc-host=127.0.0.1"),
        *(f"--grpc-port={free_port()}", f"--metrics-port={free_port()}"),
        f"--legacy-unix-domain-socket=@fulcio-{port}",
    )
    _answers(f"http://127.0.0.1:{port}/api/v2/trustBundle", folder / "fulcio.log")
    return f"http://127.0.0.1:{port}"


def _stamps(start: Any, programs: Path, folder: Path) -> str:
    port = free_port()
    start(
        "tsa",
        *(programs / "timestamp-server", "serve", "--host=127.0.0.1", f"--port={port}"),
        *("--timestamp-signer=memory", "--disable-ntp-monitoring", "--scheme=http"),
    )
    url = f"http://127.0.0.1:{port}"
    chain = _answers(f"{url}/api/v1/timestamp/certchain", folder / "tsa.log")
    (folder / "tsa.pem").write_bytes(chain)
    return url


def _rekor_2(start: Any, programs: Path, folder: Path) -> str:
    key = _key_file(folder / "rekor-2.key", ed25519.Ed25519PrivateKey.generate())
    port = free_port()
    start(
        "rekor-2",
        *(programs / "rekor-tiles", "serve", "--hostname=127.0.0.1", f"--http-port={port}"),
        *(f"--grpc-port={free_port()}", f"--http-metrics-port={free_port()}"),
        *(f"--signer-filepath={key}", f"--storage-dir={folder / 'tiles'}"),
        *("--checkpoint-interval=1s", "--batch-max-age=100ms"),
    )
    _listens(port, folder / "rekor-2.log")
    return f"http://127.0.0.1:{port}"


def _rekor_1(start: Any, programs: Path, folder: Path, schema: Path) -> str:
    database = _database(start, folder, schema)
    logs, signer, port = free_port(), free_port(), free_port()
    for name, own, more in (
        ("trillian_log_server", logs, []),
        ("trillian_log_signer", signer, ["--force_master", "--sequencer_interval=100ms"]),
    ):
        start(
            name,
            *(programs / name, f"--mysql_uri=root@unix({database})/trillian"),
            *("--storage_system=mysql", "--quota_system=noop"),
            *(f"--rpc_endpoint=127.0.0.1:{own}", f"--http_endpoint=127.0.0.1:{free_port()}"),
            *more,
        )
        _listens(own, folder / f"{name}.log")
    start(
        "rekor-1",
        *(programs / "rekor-server", "serve", "--rekor_server.address=127.0.0.1"),
        *(f"--port={port}", "--rekor_server.hostname=rekor1.lab", "--rekor_server.signer=memory"),
        *("--trillian_log_server.address=127.0.0.1", f"--trillian_log_server.port={logs}"),
        *("--enable_retrieve_api=false", "--enable_attestation_storage=false"),
    )
    url = f"http://127.0.0.1:{port}"
    key = _answers(f"{url}/api/v1/log/publicKey", folder / "rekor-1.log")
    (folder / "rekor-1.pub").write_bytes(key)
    return url


def _database(start: Any, folder: Path, schema: Path) -> Path:
    """Start MariaDB on a socket of its own with trillian's tables, and return the socket."""
    data, place = folder / "database", folder / "db.sock"
    program = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    installer, client = shutil.which("mariadb-install-db"), shutil.which("mariadb")
    if program is None or installer is None or client is None:
        raise LabError("MariaDB is not installed\nhint: apt-get install mariadb-server")
    install = [
        installer,
        f"--datadir={data}",
        "--skip-test-db",
        "--auth-root-authentication-method=normal",
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    start(
        "database",
        *(program, "--no-defaults", f"--datadir={data}", f"--socket={place}"),
        *(
            "--skip-networking",
            "--skip-grant-tables",
            "--user=root",
            f"--pid-file={folder / 'db.pid'}",
        ),
    )
    command = [client, "--no-defaults", f"--socket={place}", "--user=root"]
    end = time.monotonic() + _PATIENCE
    while subprocess.run(
        [*command, "-e", "create database if not exists trillian"], capture_output=True, check=False
    ).returncode:
        if time.monotonic() > end:
            raise LabError(f"MariaDB: {(folder / 'database.log').read_text()[-1000:]}")
        time.sleep(0.2)
    subprocess.run([*command, "trillian"], input=schema.read_bytes(), check=True, timeout=60)
    return place


def _write_root(found: RealSigstore) -> None:
    folder = found.folder
    told = f"start-time={START}"
    found.cosign(
        *("trusted-root", "create", f"--out={found.root}"),
        f"--fulcio=url={found.urls['fulcio']},certificate-chain={folder / 'authority.pem'},{told}",
        f"--ctfe=url={found.urls['ct']},public-key={folder / 'ct.pub'},{told}",
        f"--rekor=url={found.urls['rekor-1']},public-key={folder / 'rekor-1.pub'},{told}",
        f"--rekor=url={found.urls['rekor-2']},public-key={folder / 'rekor-2.pub'},{told},"
        "origin=127.0.0.1",
        f"--tsa=url={found.urls['tsa']}/api/v1/timestamp,certificate-chain={folder / 'tsa.pem'}",
    )


if __name__ == "__main__":
    prepare()
