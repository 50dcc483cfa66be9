"""Where server, keys and certificates come from, and what is refused."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isobuilder.errors import EnvironmentProblem, InputError, UsageProblem
from isobuilder.http import serving
from isobuilder.http.replies import Reply, Request
from isobuilder.model.config import MoldProfile
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import (
    ApiKey,
    Choice,
    Login,
    MoldServer,
    check_endpoint,
    read_key_file,
    resolve_server,
)
from isobuilder.mold.api.errors import MoldUnreachable
from isobuilder.mold.api.signing import SignatureAlgorithm
from tests.mold.clocks import VirtualClock

LAB = {"lab": MoldProfile(endpoint="https://mold.example")}
KEYS = {"ISOBUILDER_MOLD_API_KEY": "Ak", "ISOBUILDER_MOLD_SECRET_KEY": "Sk-hidden"}


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)  # as if it were not installed


@pytest.fixture
def resolve(tmp_path: Path) -> Any:
    def call(name: str | None = None, profiles: Any = None, **options: Any) -> MoldServer:
        environ = options.pop("environ", KEYS)
        return resolve_server(
            name,
            LAB if profiles is None else profiles,
            environ=environ,
            home=tmp_path / "home",
            **options,
        )

    (tmp_path / "home").mkdir()
    return call


def key_file(path: Path, text: str = "api_key = Ak\nsecret_key = Sk-hidden\n") -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://mold.example", "https://mold.example/client/api"),
        ("https://mold.example:8443/", "https://mold.example:8443/client/api"),
        ("http://10.1.1.1:8080/client", "http://10.1.1.1:8080/client/api"),
        ("https://mold.example/client/api/", "https://mold.example/client/api"),
        ("https://proxy.example/mold/api", "https://proxy.example/mold/api"),
    ],
)
def test_an_address_is_completed(given: str, address: str) -> None:
    assert check_endpoint(given) == address


@pytest.mark.parametrize(
    "given", ["mold.example", "ftp://mold.example", "https://", "https://u:hunter2@mold.example",
              "https://mold.example/client/api?apikey=hunter2"],
)  # fmt: skip
def test_another_address_is_refused_without_repeating_secrets(given: str) -> None:
    with pytest.raises(InputError) as caught:
        check_endpoint(given)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "choice", "environ", "profile"),
    [
        ("https://mold.example", Choice(), {}, {}),
        ("http://127.0.0.1:8080", Choice(), {}, {}),
        ("http://localhost:8080", Choice(), {}, {}),
        ("http://[::1]:8080", Choice(), {}, {}),
        ("http://10.1.1.1:8080", Choice(plain_http=True), {}, {}),
        ("http://10.1.1.1:8080", Choice(), {"ISOBUILDER_MOLD_PLAIN_HTTP": "1"}, {}),
        ("http://10.1.1.1:8080", Choice(), {}, {"plain_http": True}),
    ],
)
def test_keys_go_unencrypted_where_that_was_asked_for(
    endpoint: str, choice: Choice, environ: dict[str, str], profile: dict[str, Any], resolve: Any
) -> None:
    profiles = {"lab": MoldProfile(endpoint=endpoint, **profile)}
    found = resolve(profiles=profiles, environ=KEYS | environ, choice=choice)
    assert found.endpoint.startswith(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["http://10.1.1.1:8080", "http://mold.example", "http://127.0.0.1.example"]
)
def test_keys_do_not_go_unencrypted_to_another_machine_without_a_word(
    endpoint: str, resolve: Any
) -> None:
    with pytest.raises(InputError, match="is not encrypted") as caught:
        resolve(profiles={"lab": MoldProfile(endpoint=endpoint)})
    assert "--plain-http" in str(caught.value.hint)


def test_the_only_profile_is_taken_and_several_must_be_named(resolve: Any) -> None:
    assert resolve().name == "lab"
    two = LAB | {"prod": MoldProfile(endpoint="https://prod.example")}
    with pytest.raises(UsageProblem, match="2 mold servers are configured: lab, prod"):
        resolve(profiles=two)
    assert resolve("prod", two).endpoint == "https://prod.example/client/api"
    chosen = resolve(profiles=two, environ=KEYS | {"ISOBUILDER_MOLD_SERVER": "prod"})
    assert chosen.name == "prod"


def test_an_unknown_profile_is_told_with_the_known(resolve: Any) -> None:
    with pytest.raises(UsageProblem, match="known: lab"):
        resolve("labb")


def test_no_endpoint_at_all_is_told(resolve: Any) -> None:
    with pytest.raises(InputError, match="no endpoint"):
        resolve(profiles={})


def test_what_is_named_wins_over_the_variables_that_lie_around(
    resolve: Any, tmp_path: Path
) -> None:
    own = key_file(tmp_path / "own", "api_key = K1\nsecret_key = S1\n")
    profile = {
        "prod": MoldProfile(
            endpoint="https://prod.example", signature="hmac-sha1", key_file=str(own)
        )
    }
    simulator = KEYS | {
        "ISOBUILDER_MOLD_ENDPOINT": "http://127.0.0.1:18080",
        "ISOBUILDER_MOLD_SIGNATURE": "hmac-sha256",
    }
    for environ in (simulator, simulator | {"ISOBUILDER_MOLD_SERVER": "prod"}):
        named = None if "ISOBUILDER_MOLD_SERVER" in environ else "prod"
        found = resolve(named, profile, environ=environ)
        assert found.endpoint == "https://prod.example/client/api"
        assert found.credentials == ApiKey("K1", "S1")
        assert found.algorithm is SignatureAlgorithm.HMAC_SHA1
    # Nothing is named: the variables are the server, under its own name.
    found = resolve(profiles=profile, environ=simulator)
    assert (found.name, found.endpoint) == ("127.0.0.1", "http://127.0.0.1:18080/client/api")
    assert found.credentials == ApiKey("Ak", "Sk-hidden")


def test_a_name_that_stands_for_nothing_does_not_go_to_the_server_of_the_variables(
    resolve: Any,
) -> None:
    environ = KEYS | {"ISOBUILDER_MOLD_ENDPOINT": "http://127.0.0.1:18080"}
    with pytest.raises(UsageProblem, match="'prdo': no such profile"):
        resolve("prdo", environ=environ)


def test_the_command_line_wins_over_everything(resolve: Any, tmp_path: Path) -> None:
    file = key_file(tmp_path / "key", "secretKey: no\nkey=K2\nsecret = 'S2'\n")
    choice = Choice(endpoint="https://c.example", signature="hmac-sha1", key_file=file, timeout=5)
    found = resolve("lab", environ=KEYS, choice=choice)
    assert found.endpoint == "https://c.example/client/api"
    assert found.algorithm is SignatureAlgorithm.HMAC_SHA1
    assert (found.credentials, found.timeout) == (ApiKey("K2", "S2"), 5)


@pytest.mark.parametrize(
    ("name", "choice", "environ"),
    [
        ("lab", Choice(endpoint="https://evil.example"), {}),
        (None, Choice(endpoint="https://evil.example"), {}),
        ("lab", Choice(), {"ISOBUILDER_MOLD_LAB_ENDPOINT": "https://evil.example"}),
        (None, Choice(), {"ISOBUILDER_MOLD_ENDPOINT": "https://evil.example"}),
        (
            "lab",
            Choice(endpoint="https://evil.example"),
            KEYS | {"ISOBUILDER_MOLD_ENDPOINT": "https://mold.example"},
        ),
        (None, Choice(), {"CLOUDSTACK_ENDPOINT": "https://evil.example"}),
    ],
)
def test_keys_go_only_to_the_address_they_were_made_for(
    resolve: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
    choice: Choice,
    environ: dict[str, str],
) -> None:
    file = key_file(tmp_path / "own")
    key_file(tmp_path / "home" / ".cloudstack.ini", INI)
    service = "isobuilder-mold/lab"
    install_keyring(monkeypatch, {(service, "api-key"): "K", (service, "secret-key"): "S"})
    profile = {"lab": MoldProfile(endpoint="https://mold.example", key_file=str(file))}
    if "CLOUDSTACK_ENDPOINT" in environ:
        profile = {}
    if name == "lab" and not choice.endpoint:
        # The variable names the server, and so does the keyring; the key file is the profile's.
        assert resolve(name, profile, environ=environ, choice=choice).origin == "system keyring"
        return
    with pytest.raises(InputError, match=r"no credentials for https://evil\.example"):
        resolve(name, profile, environ=environ, choice=choice)


def test_a_profile_may_have_variables_of_its_own(resolve: Any) -> None:
    own = {"ISOBUILDER_MOLD_LAB_API_KEY": "own", "ISOBUILDER_MOLD_LAB_SECRET_KEY": "own-secret"}
    assert resolve("lab", environ=KEYS | own).credentials == ApiKey("own", "own-secret")


def test_an_unknown_algorithm_is_told(resolve: Any) -> None:
    with pytest.raises(InputError, match="unknown signature algorithm"):
        resolve(environ=KEYS | {"ISOBUILDER_MOLD_LAB_SIGNATURE": "md5"})


def test_half_a_pair_and_no_pair_are_told(resolve: Any) -> None:
    with pytest.raises(InputError, match="only one of the two keys"):
        resolve(environ={"ISOBUILDER_MOLD_API_KEY": "Ak"})
    with pytest.raises(InputError, match="no credentials"):
        resolve(environ={})


def test_a_login_needs_its_password_from_the_environment(resolve: Any) -> None:
    environ = {"ISOBUILDER_MOLD_USERNAME": "kim", "ISOBUILDER_MOLD_PASSWORD": "hunter2",
               "ISOBUILDER_MOLD_DOMAIN": "/seoul"}  # fmt: skip
    found = resolve(environ=environ)
    assert found.credentials == Login("kim", "hunter2", "/seoul")
    assert "hunter2" not in repr(found)
    with pytest.raises(InputError, match="without a password"):
        resolve(choice=Choice(username="kim"))


# ---- key files -------------------------------------------------------------------------------


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = key_file(tmp_path / "key")
    assert read_key_file(file) == ApiKey("Ak", "Sk-hidden")
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        with pytest.raises(EnvironmentProblem, match=f"mode {mode:04o}") as caught:
            read_key_file(file)
        assert str(caught.value.hint) == f"chmod 600 {file}"


@pytest.mark.parametrize("text", ["", "Sk-hidden", "api_key = Ak", "# api_key=Ak\nsecret_key=Sk"])
def test_a_key_file_without_a_pair_is_told_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="no pair of keys") as caught:
        read_key_file(key_file(tmp_path / "key", text))
    assert "Sk" not in str(caught.value)


def test_a_key_file_that_is_missing_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_key_file(tmp_path / "none")
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe\x00")
    file.chmod(0o600)
    with pytest.raises(InputError, match="not a text file"):
        read_key_file(file)


def test_a_profile_names_its_key_file(resolve: Any, tmp_path: Path) -> None:
    file = key_file(tmp_path / "key")
    profile = {"lab": MoldProfile(endpoint="https://mold.example", key_file=str(file))}
    found = resolve(profiles=profile, environ={})
    assert found.credentials == ApiKey("Ak", "Sk-hidden")
    assert str(file) in found.origin


# ---- keyring -----------------------------------------------------------------------------------


def install_keyring(
    monkeypatch: pytest.MonkeyPatch, values: dict[tuple[str, str], str], *, locked: bool = False
) -> None:
    class KeyringError(Exception):
        pass

    def get_password(service: str, name: str) -> str | None:
        if locked:
            raise KeyringError("locked")
        return values.get((service, name))

    module, errors = ModuleType("keyring"), ModuleType("keyring.errors")
    module.get_password = get_password  # type: ignore[attr-defined]
    errors.KeyringError = KeyringError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)


def test_the_keyring_is_asked_when_there_is_one(
    resolve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = "isobuilder-mold/lab"
    install_keyring(monkeypatch, {(service, "api-key"): "K", (service, "secret-key"): "S"})
    found = resolve(environ={})
    assert found.credentials == ApiKey("K", "S")
    assert found.origin == "system keyring"


def test_a_locked_keyring_is_passed_over(resolve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install_keyring(monkeypatch, {}, locked=True)
    with pytest.raises(InputError, match="no credentials"):
        resolve(environ={})


# ---- cloudstack.ini --------------------------------------------------------------------------

INI = "[cloudstack]\nendpoint = https://ini.example/client/api\nkey = K\nsecret = S%hidden\n"


def test_cloudstack_ini_is_read_from_its_usual_places(resolve: Any, tmp_path: Path) -> None:
    key_file(tmp_path / "home" / ".cloudstack.ini", INI)
    found = resolve(profiles={}, environ={})
    assert found.endpoint == "https://ini.example/client/api"
    assert found.credentials == ApiKey("K", "S%hidden")
    named = key_file(tmp_path / "named.ini", INI.replace("= K", "= K3"))
    found = resolve(profiles={}, environ={"CLOUDSTACK_CONFIG": str(named)})
    assert found.credentials == ApiKey("K3", "S%hidden")


def test_the_cloudstack_ini_of_the_current_folder_decides_nothing(
    resolve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file(tmp_path / "home" / ".cloudstack.ini", INI)
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    evil = "[cloudstack]\nendpoint = https://evil.example\n[lab]\nendpoint = https://evil.example\n"
    Path("cloudstack.ini").write_text(evil)
    assert resolve(profiles={}, environ={}).endpoint == "https://ini.example/client/api"
    assert resolve("lab").endpoint == "https://mold.example/client/api"


def test_address_and_keys_come_from_one_file(resolve: Any, tmp_path: Path) -> None:
    key_file(tmp_path / "home" / ".cloudstack.ini", INI)
    named = key_file(tmp_path / "other.ini", "[cloudstack]\nendpoint = https://evil.example\n")
    with pytest.raises(InputError, match=r"no credentials for https://evil\.example"):
        resolve(profiles={}, environ={"CLOUDSTACK_CONFIG": str(named)})


def test_sections_of_cloudstack_ini_are_servers(resolve: Any, tmp_path: Path) -> None:
    text = INI + "[seoul]\nendpoint = https://seoul.example\nkey = K\nsecret = S\n"
    key_file(tmp_path / "home" / ".cloudstack.ini", text + "signature = hmac-sha1\n")
    found = resolve("seoul", {}, environ={})
    assert (found.name, found.endpoint) == ("seoul", "https://seoul.example/client/api")
    assert found.algorithm is SignatureAlgorithm.HMAC_SHA1
    found = resolve(profiles={}, environ={"CLOUDSTACK_REGION": "seoul"})
    assert found.name == "seoul"


def test_the_variables_of_cs_work(resolve: Any) -> None:
    environ = {"CLOUDSTACK_ENDPOINT": "https://env.example", "CLOUDSTACK_KEY": "K",
               "CLOUDSTACK_SECRET": "S"}  # fmt: skip
    found = resolve(profiles={}, environ=environ)
    assert found.endpoint == "https://env.example/client/api"
    assert found.credentials == ApiKey("K", "S")


def test_a_cloudstack_ini_with_keys_that_others_may_read_is_refused(
    resolve: Any, tmp_path: Path
) -> None:
    key_file(tmp_path / "home" / ".cloudstack.ini", INI).chmod(0o644)
    with pytest.raises(EnvironmentProblem, match="others may read it"):
        resolve(profiles={}, environ={})


def test_a_damaged_cloudstack_ini_is_told_without_its_content(resolve: Any, tmp_path: Path) -> None:
    key_file(tmp_path / "home" / ".cloudstack.ini", "secret = S-hidden\n[x")
    with pytest.raises(InputError, match="not an ini file") as caught:
        resolve(profiles={}, environ={})
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


# ---- TLS -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody but its owner trusts, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
def tls_server(authority: tuple[Path, Path]) -> Iterator[str]:
    class Empty(serving.Server):
        def answer(self, request: Request) -> Reply:
            request.body()
            return Reply(200, {}, b'{"listzonesresponse":{}}')

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)
    with Empty(tls=context) as server:
        yield f"{server.url}/client/api"


def test_a_certificate_nobody_vouches_for_is_refused(tls_server: str) -> None:
    client = Mold(MoldServer("lab", tls_server, ApiKey("k", "s")), clock=VirtualClock())
    with pytest.raises(MoldUnreachable, match=r"^lab: TLS: ") as caught:
        client.call("listZones")
    assert "--ca-file" in str(caught.value.hint)
    client.close()


def test_a_private_authority_is_trusted_when_it_is_named(
    tls_server: str, authority: tuple[Path, Path], resolve: Any
) -> None:
    profile = {"lab": MoldProfile(endpoint=tls_server, ca_file=str(authority[0]))}
    client = Mold(resolve(profiles=profile), clock=VirtualClock())
    assert client.call("listZones") == {}
    client.close()
    named = resolve(environ=KEYS | {"SSL_CERT_FILE": str(authority[0])})
    assert named.ca_file == authority[0]


def test_what_the_machine_trusts_is_trusted(
    tls_server: str, authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))
    client = Mold(MoldServer("lab", tls_server, ApiKey("k", "s")), clock=VirtualClock())
    assert client.call("listZones") == {}
    client.close()


def test_a_ca_file_that_is_missing_is_told(resolve: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        resolve(choice=Choice(ca_file=tmp_path / "none.pem"))


@pytest.mark.parametrize("address", ["http://[", "https://[::1", "http://a]b/"])
def test_an_address_that_is_none_is_told_as_such(address: str) -> None:
    with pytest.raises(InputError, match="expected http:// or https:// and a host"):
        check_endpoint(address)


@pytest.mark.parametrize("port", ["0", "99999", "x"])
def test_a_port_that_there_is_not_is_told(port: str) -> None:
    with pytest.raises(InputError, match="expected a port from 1 to 65535"):
        check_endpoint(f"http://127.0.0.1:{port}")


def test_an_ini_file_of_any_content_is_told(resolve: Any, tmp_path: Path) -> None:
    path = tmp_path / "home" / ".cloudstack.ini"
    path.write_text("[cloudstack]\n" + "a\n" * 300_000)
    path.chmod(0o600)
    with pytest.raises(InputError, match="expected at most 32768 bytes"):
        resolve(profiles={}, environ={})
    path.write_text(
        "[cloudstack]\nendpoint=https://a.example\nkey=k\nsecret=s\nverify=/" + "x" * 5000 + "\n"
    )
    with pytest.raises(InputError, match="CA file /x"):
        resolve(profiles={}, environ={})


@pytest.mark.parametrize(
    "address", ["nonsense", "ftp://mold.example", "https://me:pw@mold.example"]
)
def test_the_address_of_a_server_made_in_python_is_checked_too(address: str) -> None:
    with pytest.raises(InputError, match="Mold endpoint"):
        MoldServer("x", address, ApiKey("k", "s"))
    server = MoldServer("x", "https://mold.example", ApiKey("k", "s"))
    assert server.endpoint == "https://mold.example/client/api"
