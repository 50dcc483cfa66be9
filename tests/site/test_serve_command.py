"""``isobuilder site serve`` as a person runs it."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from isobuilder.digest import Digest
from tests.cli.calling import call, errors
from tests.contract.trees import tar
from tests.site.isos import ETCD, PAUSE, image, iso
from tests.site.pulling import assert_all_are_pulled, hosts_on_page
from tests.site.serving import get, served
from tools.lab import containerd2
from tools.lab.place import lab_dir


def test_it_serves_until_it_is_ended(tmp_path: Path) -> None:
    pause = image(PAUSE)
    path = iso(tmp_path / "x.iso", [pause], files={"docker/bad.tar": b"no archive" * 60})
    with served(path, "--access-log", tmp_path / "log", cwd=tmp_path) as (address, said):
        assert get(address, "/v2/registry.k8s.io/pause/manifests/3.10")[1] == pause.manifest
        deadline = time.monotonic() + 60
        while " 200 " not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while "1 ISO with 1 image" not in (told := said.read_text()):
            assert time.monotonic() < deadline, told
            time.sleep(0.01)
        assert "warning: x.iso: docker/bad.tar: byte 0: not a tar header" in told
    assert said.read_text().endswith("ended\n")


def test_without_an_address_it_answers_at_every_one_of_this_machine(tmp_path: Path) -> None:
    iso(tmp_path / "x.iso", [image(PAUSE)])
    log = tmp_path / "log"
    words = ("x.iso", "--listen", ":0", "--access-log", log)
    with served(*words, cwd=tmp_path) as (address, _said):
        port = urlsplit(address).port
        hosts = ["127.0.0.1", "[::1]"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
        for host in hosts:
            assert get(f"http://{host}:{port}", "/healthz") == (200, b"ok\n")
        # An answer is noted when it has gone out, by the thread of its client.
        while len(told := [line.split()[1] for line in log.read_text().splitlines()]) < len(hosts):
            time.sleep(0.01)
    assert sorted(told) == sorted(host.strip("[]") for host in hosts)


def test_a_pull_goes_on_after_the_server_was_restarted(tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", [image(PAUSE, bytes(range(256)) * 4096)])
    whole = path.read_bytes()
    with served(path, cwd=tmp_path) as (address, _said):
        listen = urlsplit(address).netloc
        with closing(http.client.HTTPConnection(listen, timeout=10)) as connection:
            connection.request("GET", "/isos/x.iso")
            answer = connection.getresponse()
            etag = answer.headers["ETag"]
            begun = answer.read(300_000)
    with (
        served(path, "--listen", listen, cwd=tmp_path) as (_address, _said),
        closing(http.client.HTTPConnection(listen, timeout=10)) as connection,
    ):
        rest = {"Range": f"bytes={len(begun)}-", "If-Range": etag}
        connection.request("GET", "/isos/x.iso", headers=rest)
        answer = connection.getresponse()
        assert answer.status == 206
        assert begun + answer.read() == whole


def test_tls_is_spoken_with_the_certificate_that_is_given(
    tmp_path: Path, certificate: Path
) -> None:
    path = iso(tmp_path / "x.iso", [image(PAUSE)])
    trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    with served(path, "--tls-cert", certificate, cwd=tmp_path) as (address, _said):
        assert address.startswith("https://127.0.0.1:")
        size = path.stat().st_size
        status, body = get(address, "/isos/x.iso", trusting)
        assert (status, len(body)) == (200, size)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--user", "ann"], 2, "--user and --password-file belong together"),
        (["--tls-key", "word"], 2, "--tls-key belongs to --tls-cert"),
        (["--listen", "5000"], 2, "expected ADDRESS:PORT"),
        (["--listen", "127.0.0.1:99999"], 2, "expected ADDRESS:PORT"),
        (["--listen", "127.0.0.1:²"], 2, "expected ADDRESS:PORT"),
        (["--user", "a:b", "--password-file", "word"], 2, "no colon"),
        (["--listen", "no.such.invalid:0"], 6, "no.such.invalid:0: cannot be used"),
        (["--user", "a", "--password-file", "empty"], 6, "its first line is empty"),
        (["--tls-cert", "word"], 6, "no certificate in PEM is in it"),
        (
            ["--user", "ann", "--password-file", "word", "--listen", ":0"],
            2,
            "logins would come unencrypted over the network",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("word").write_text("secret-word\n")
    Path("empty").write_text("\n")
    iso(tmp_path / "x.iso", [image(PAUSE)])
    done = call("site", "serve", "x.iso", *words, code=code)
    assert said in errors(done)[0]
    assert "secret-word" not in done.output


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", [image(PAUSE)])
    with served(path, cwd=tmp_path) as (address, _said):
        listen = urlsplit(address).netloc
        done = call("site", "serve", path, "--listen", listen, code=6)
    assert "cannot be used" in errors(done)[0]


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    iso(tmp_path / "100 %.iso", [image(PAUSE)])
    program = Path(sys.executable).with_name("isobuilder")
    (tmp_path / "k %").touch()
    words = [str(program), "site", "serve", "100 %.iso", "--systemd", "--access-log", "50 %/log"]
    words += ["--listen", ":443", "--tls-cert", "k %"]
    text = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    (tmp_path / "unit.service").write_text(text)
    log = f"--access-log '{tmp_path}/50 %%/log'"
    rest = "--listen :443 --tls-cert ${CREDENTIALS_DIRECTORY}/tls_cert"
    assert f"ExecStart={program} site serve {log} {rest} '{tmp_path}/100 %%.iso'\n" in text
    assert f"LoadCredential=tls_cert:{tmp_path}/k %%\n" in text
    assert f"ReadWritePaths='{tmp_path}/50 %%'\n" in text
    if shutil.which("systemd-analyze"):
        words = ["systemd-analyze", "verify", "--man=no", "unit.service"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "unit.service" not in done.stderr


def test_an_access_log_that_is_full_is_told_once_and_keeps_nobody_from_answers(
    tmp_path: Path,
) -> None:
    path = iso(tmp_path / "x.iso", [image(PAUSE)])
    with (
        served(path, "--access-log", "/dev/full", cwd=tmp_path) as (address, said),
        closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)) as client,
    ):
        for _ in range(3):  # on one connection
            client.request("GET", "/healthz")
            assert client.getresponse().read() == b"ok\n"
    lost = "warning: /dev/full: No space left on device: lines of the access log are lost; "
    told = said.read_text().splitlines()
    assert [line for line in told if "full" in line] == [
        f"{lost}what is served goes on being served"
    ]
    assert told[-1] == "ended"


def test_an_access_log_that_is_a_pipe_is_refused_and_our_own_output_is_not(tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", [image(PAUSE)])
    os.mkfifo(tmp_path / "pipe")
    words = ["site", "serve", str(path), "--access-log", "pipe"]
    command = [sys.executable, "-m", "isobuilder", *words]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --access-log: pipe: expected a file, or none yet\n")
    for number, name in ((1, "/dev/stdout"), (2, "/dev/stderr")):  # both pipes here
        code = (
            f"import isobuilder.cli.site.serve as s; s.os.write(s._opened(s.Path('{name}')), b'x')"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert (ran.stdout, ran.stderr)[number - 1] == b"x"


def unit_of(folder: Path, *words: str) -> list[str]:
    program = Path(sys.executable).with_name("isobuilder")
    done = subprocess.run(
        [program, *words, "--systemd"], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def test_the_unit_has_whole_paths_and_may_write_what_it_shall(tmp_path: Path) -> None:
    iso(tmp_path / "a$b.iso", [image(PAUSE)])
    for name in ("c.pem", "word", "config.yaml"):
        (tmp_path / name).write_text("\n")
    (tmp_path / "there").mkdir()
    words = ["--config", "config.yaml", "site", "serve", "a$b.iso", "there", "--tls-cert=c.pem"]
    words += ["--access-log", "log", "--metrics=n/m.prom", "--listen", ":5000", "-vv"]
    words += ["--user", "there", "--password-file", "word", "--plain-http", "--clients", "9"]
    unit = unit_of(tmp_path, *words)
    here, program = tmp_path, Path(sys.executable).with_name("isobuilder")
    assert (
        f"ExecStart={program} --config {here}/config.yaml site serve "
        "--tls-cert ${CREDENTIALS_DIRECTORY}/tls_cert "
        f"--access-log {here}/log --metrics {here}/n/m.prom --listen :5000 --verbose --verbose "
        "--user there --password-file ${CREDENTIALS_DIRECTORY}/password_file --plain-http "
        f"--clients 9 "
        f"'{here}/a$$b.iso' {here}/there"
    ) in unit
    assert f"ReadWritePaths={here} {here}/n" in unit
    assert [line for line in unit if line.startswith("LoadCredential=")] == [
        f"LoadCredential=tls_cert:{here}/c.pem",
        f"LoadCredential=password_file:{here}/word",
    ]


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def test_which_file_of_tls_is_at_fault_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    curve = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("a", "b"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        openssl(tmp_path, "req", "-x509", "-newkey", *curve, "-subj", "/CN=x", *files)
    hidden = ("-aes256", "-passout", "pass:secret")
    openssl(tmp_path, "pkey", "-in", "a.key", *hidden, "-out", "hidden.key")
    (tmp_path / "text").write_text("no PEM")
    small = ("rsa:1024", "-nodes", "-subj", "/CN=x", "-keyout", "small.key", "-out", "small.pem")
    openssl(tmp_path, "req", "-x509", "-newkey", *small)
    (tmp_path / "damaged.pem").write_text((tmp_path / "a.pem").read_text()[:200])
    (tmp_path / "damaged.key").write_text((tmp_path / "a.key").read_text()[:60])
    iso(tmp_path / "x.iso", [image(PAUSE)])
    for words, told in {
        "a.pem": "a.pem: no private key in PEM is in it",
        "a.pem --tls-key text": "text: no private key in PEM is in it",
        "text --tls-key a.key": "text: no certificate in PEM is in it",
        "a.key --tls-key a.pem": "a.key: no certificate in PEM is in it",
        "a.pem --tls-key b.key": "b.key: not the key that belongs to a.pem",
        "damaged.pem --tls-key a.key": "damaged.pem: a damaged certificate: ",
        "damaged.pem --tls-key hidden.key": "damaged.pem: a damaged certificate: ",
        "a.pem --tls-key damaged.key": "a.pem with damaged.key: ",
        "small.pem --tls-key small.key": "small.pem with small.key: ee key too small",
        "a.pem --tls-key hidden.key": "hidden.key: the key is encrypted with a password",
    }.items():
        given = ("x.iso", "--tls-cert", *words.split())
        done = call("site", "serve", *given, code=6)
        [said] = errors(done)
        assert said.startswith(f"error: {told}")
        assert len(said) > len(f"error: {told}") or not told.endswith(": ")


@pytest.mark.parametrize(("port", "capability"), [(443, "CAP_NET_BIND_SERVICE"), (5000, "")])
def test_the_unit_may_answer_at_the_port_that_was_named(
    tmp_path: Path, port: int, capability: str
) -> None:
    unit = unit_of(tmp_path, "site", "serve", ".", "--listen", f":{port}")
    assert f"CapabilityBoundingSet={capability}" in unit
    assert (f"AmbientCapabilities={capability}" in unit) is bool(capability)


def test_a_backslash_in_a_path_is_one_for_systemd_too(tmp_path: Path) -> None:
    (tmp_path / "b\\s").mkdir()
    unit = unit_of(tmp_path, "site", "serve", "b\\s", "--access-log", "b\\s/log")
    place = f"'{tmp_path}/b\\\\s"
    assert f"ReadWritePaths={place}'" in unit
    assert any(line.endswith(f"serve --access-log {place}/log' {place}'") for line in unit)


def test_the_unit_of_a_module_starts_python(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "isobuilder", "site", "serve", ".", "--systemd"]
    unit = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert f"ExecStart={sys.executable} -m isobuilder site serve {tmp_path}\n" in unit


def test_a_unit_that_writes_no_file_may_write_none(tmp_path: Path) -> None:
    for log in ("-", "/dev/stdout"):
        unit = unit_of(tmp_path, "site", "serve", ".", "--access-log", log)
        assert any(line.endswith(f"serve --access-log {log} {tmp_path}") for line in unit)
        assert not any("ReadWritePaths" in line for line in unit)


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
@pytest.mark.skipif(not (lab_dir() / "ready").is_file(), reason="run make lab first")
def test_containerd_pulls_every_image_by_the_name_of_its_real_registry(tmp_path: Path) -> None:
    names = [PAUSE, ETCD, "docker.io/library/nginx:1.27", "registry.example:5000/a/b/c:v1"]
    images = [image(name, tar({"file": name.encode() * 100_000})) for name in names]
    path = iso(tmp_path / "x.iso", *([one] for one in images))
    with (
        served(path, cwd=tmp_path) as (address, _said),
        containerd2.running(containerd2.paths()["2"]) as ctr,
    ):
        hosts = hosts_on_page(get(address, "/")[1].decode(), names)
        wanted = {str(one.name): one.digest for one in images}
        assert_all_are_pulled(ctr, hosts, wanted, tmp_path / "certs.d")
        words = [*ctr, "--namespace", "k8s.io", "content", "ls", "--quiet"]
        found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    blobs = {Digest.of(data) for one in images for data in (one.manifest, *one.blobs)}
    assert set(found) == blobs
