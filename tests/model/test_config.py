from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError
from isobuilder.model.config import (
    Config,
    TransferSettings,
    load_config,
    mirror_urls,
    parse_size,
    registry_bases,
)

FILE = """\
mirrors:
  "https://dl.k8s.io": ["http://127.0.0.1:8081/dl.k8s.io", "https://dl.k8s.io"]
  registry.k8s.io: [http://127.0.0.1:5000/registry.k8s.io]
jobs: 4
limit_rate: 20M
offline: true
mold:
  lab: {endpoint: "https://mold.example/client/api", signature: hmac-sha256}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(FILE)
    return path


def wrong(text: str, tmp_path: Path) -> str:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputErrors) as caught:
        load_config(path, {}, {})
    return f"{caught.value}\nhint: {caught.value.hint}".replace(f"{tmp_path}/", "")


def test_without_anything_all_is_default() -> None:
    config, origins = load_config(None, {"HOME": "/nonexistent"}, {})
    assert config == Config()
    assert set(origins) == set(Config.model_fields)
    assert set(origins.values()) == {"default"}


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(file: Path) -> None:
    environment = {"ISOBUILDER_JOBS": "5", "ISOBUILDER_PER_HOST": "6", "ISOBUILDER_CONFIG": "/no"}
    config, origins = load_config(file, environment, {"jobs": 7, "store": None})
    assert (config.jobs, config.per_host, config.offline, config.retries) == (7, 6, True, 6)
    assert origins["jobs"] == "--jobs"
    assert origins["per_host"] == "ISOBUILDER_PER_HOST"
    assert origins["offline"] == f"{file}:6:1"
    assert origins["retries"] == "default"


def test_the_file_may_be_named_by_a_variable_or_be_in_its_usual_place(
    file: Path, tmp_path: Path
) -> None:
    assert load_config(None, {"ISOBUILDER_CONFIG": str(file)}, {})[0].jobs == 4
    usual = tmp_path / "xdg" / "isobuilder" / "config.yaml"
    usual.parent.mkdir(parents=True)
    usual.write_text("jobs: 3\n")
    assert load_config(None, {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}, {})[0].jobs == 3
    home = tmp_path / "home" / ".config" / "isobuilder"
    home.mkdir(parents=True)
    (home / "config.yaml").write_text("jobs: 2\n")
    assert load_config(None, {"HOME": str(tmp_path / "home")}, {})[0].jobs == 2


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "none.yaml", {}, {})
    with pytest.raises(InputError, match="cannot be read"):
        load_config(None, {"ISOBUILDER_CONFIG": str(tmp_path / "none.yaml")}, {})


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("# nothing yet\n")
    assert load_config(path, {}, {})[0] == Config()


def test_every_setting_but_those_of_servers_has_a_variable() -> None:
    environment = {
        "HOME": "/nonexistent",
        "ISOBUILDER_MIRRORS": "https://dl.k8s.io=http://a/x https://dl.k8s.io=http://b/x "
        "registry.k8s.io=http://c",
        "ISOBUILDER_STORE": "12",
        "ISOBUILDER_REMOTE_STORE": "oci://registry.example/shared",
        "ISOBUILDER_REMOTE_STORE_REQUIRED": "yes",
        "ISOBUILDER_JOBS": "2",
        "ISOBUILDER_PER_HOST": "3",
        "ISOBUILDER_LIMIT_RATE": "1.5M",
        "ISOBUILDER_RULES": "mine.yaml",
        "ISOBUILDER_POLICIES": "whose.yaml",
        "ISOBUILDER_ALLOWED_LEAKS": "known.yaml",
        "ISOBUILDER_BUILDERS": "builders.yaml",
        "ISOBUILDER_TRUST": "true",
        "ISOBUILDER_TRUSTED_ROOT": "root.json",
        "ISOBUILDER_OFFLINE": "1",
        "ISOBUILDER_RETRIES": "0",
        "ISOBUILDER_RETRY_BUDGET": "10",
        "ISOBUILDER_CONNECT_TIMEOUT": "2.5",
        "ISOBUILDER_STALL_TIMEOUT": "7",
        "ISOBUILDER_MAX_FILE_SIZE": "1GiB",
        "ISOBUILDER_TRANSFER_LEAST_SPEED": "2K",
        "ISOBUILDER_TRANSFER_LEAST_SPEED_SECONDS": "9",
    }
    config, origins = load_config(None, environment, {})
    assert config == Config(
        mirrors={
            "https://dl.k8s.io": ("http://a/x", "http://b/x"),
            "registry.k8s.io": ("http://c",),
        },
        store="12",
        rules="mine.yaml",
        policies="whose.yaml",
        allowed_leaks="known.yaml",
        builders="builders.yaml",
        trust=True,
        trusted_root="root.json",
        remote_store="oci://registry.example/shared",
        remote_store_required=True,
        jobs=2,
        per_host=3,
        limit_rate=1572864,
        offline=True,
        retries=0,
        retry_budget=10.0,
        connect_timeout=2.5,
        stall_timeout=7.0,
        max_file_size=1024**3,
        transfer=TransferSettings(least_speed=2048, least_speed_seconds=9.0),
    )
    assert [name for name, origin in origins.items() if origin == "default"] == ["servers", "mold"]


@pytest.mark.parametrize(
    ("variable", "value", "fact"),
    [
        ("JOBS", "many", "ISOBUILDER_JOBS: jobs: expected a whole number, found 'many'"),
        ("JOBS", "0", "ISOBUILDER_JOBS: jobs: "),
        ("JOBS", "9" * 30, "ISOBUILDER_JOBS: jobs: "),
        ("OFFLINE", "maybe", "ISOBUILDER_OFFLINE: offline: expected true or false, found 'maybe'"),
        ("LIMIT_RATE", "fast", "ISOBUILDER_LIMIT_RATE: limit_rate: expected a size such as 20M"),
        ("MIRRORS", "https://a", "ISOBUILDER_MIRRORS: mirrors['https://a'][0]: expected http://"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, fact: str) -> None:
    with pytest.raises(InputErrors) as caught:
        load_config(None, {"HOME": "/nonexistent", f"ISOBUILDER_{variable}": value}, {})
    assert str(caught.value).startswith(fact)


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(InputErrors, match="--limit-rate: limit_rate: expected a size"):
        load_config(None, {"HOME": "/nonexistent"}, {"limit_rate": "quick"})


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("job: 3\n", "wrong.yaml:1:1: unknown key 'job'\nhint: did you mean 'jobs'?"),
        ("jobs: 1.5\n", "wrong.yaml:1:7: jobs: expected a whole number, found 1.5"),
        ("mirrors: {'http://a.b': []}\n", "expected https://host or https://host/path"),
        ("mirrors: {'https://a.b': ['ftp://c']}\n", "expected http://, https:// or file://"),
        ("mirrors: {'https://a.b': ['http://u:p@c']}\n", "credentials in a mirror's address"),
        ("mold: {lab: {}}\n", "mold.lab: the key 'endpoint' is missing"),
        ("mold: {lab: {endpoint: mold.example}}\n", "expected https://host/client/api"),
        ("mold: {lab: {endpoint: 'https://u:p@m'}}\n", "credentials in the address"),
        (
            "mold: {lab: {endpoint: 'http://127.0.0.1:99999'}}\n",
            "mold.lab.endpoint: expected a port from 1 to 65535, got '127.0.0.1:99999'",
        ),
        ("mold: {lab: {endpoint: 'http://127.0.0.1:0'}}\n", "expected a port from 1 to 65535"),
        ("mirrors: {'https://a.b': ['http://c:99999']}\n", "expected a port from 1 to 65535"),
        ("mirrors: {'https://a.b:0': []}\n", "expected a port from 1 to 65535"),
        ("mirrors: {'a.b:99999': []}\n", "expected a port from 1 to 65535"),
        ("servers: {'https://a:x': {}}\n", "expected a port from 1 to 65535, got 'a:x'"),
        ("remote_store: 'oci://a:99999/b'\n", "expected a port from 1 to 65535"),
        (
            "mold: {lab: {endpoint: 'https://m', signature: md5}}\n",
            "mold.lab.signature: expected 'hmac-sha256' or 'hmac-sha1', found 'md5'",
        ),
    ],
)
def test_what_is_wrong_in_the_file_has_a_place(tmp_path: Path, text: str, fact: str) -> None:
    assert fact in wrong(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "mirrors: {'https://u:LongSecret@dl.k8s.io': ['https://x']}",
        "mirrors: {'u:LongSecret@registry.k8s.io': ['https://x']}",
        "mirrors: {'https://u:LongSecret@dl.k8s.io': ftp}",
        "servers: {'https://u:LongSecret@x': {ca_file: a}}",
        "servers: {'https://LongSecret@x': {ca_fil: a}}",
        "servers: {'https://u:LongSecret@x': {}, 'https://u:LongSecret@x': {}}",
        "jobs: 'https://u:LongSecret@x'",
        "'https://u:LongSecret@x': 1",
    ],
)
def test_a_login_in_an_address_is_never_shown(tmp_path: Path, text: str) -> None:
    assert "LongSecret" not in wrong(text, tmp_path)
    longer = wrong(text.replace("LongSecret", 30 * "LongSecret"), tmp_path)
    assert "LongSecret" not in longer


@pytest.mark.parametrize("key", ["apikey", "api_key", "secret", "secretkey", "password"])
def test_keys_are_refused_in_the_file_without_repeating_them(tmp_path: Path, key: str) -> None:
    found = wrong(f"mold: {{lab: {{endpoint: 'https://m', {key}: TopSecret}}}}\n", tmp_path)
    assert f"the key '{key}': secrets are never in this file" in found
    assert "hint: put them into a key_file" in found
    assert "TopSecret" not in found


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("20M", 20 * 1024**2),
        ("20m", 20 * 1024**2),
        ("1.5 GiB", 3 * 1024**3 // 2),
        ("1K", 1024),
        ("2TB", 2 * 1024**4),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "connect_timeout: 1e308",
        "stall_timeout: 1e20",
        "retries: 2000",
        "retry_budget: 1e20",
        "transfer: {least_speed_seconds: 1e20}",
        "transfer: {least_speed: 999999999999999T}",
        "limit_rate: 999999999999999T",
        "max_file_size: 999999999999999T",
        "mold: {lab: {endpoint: 'https://m', timeout: 1e300}}",
    ],
)
def test_a_number_that_no_clock_and_no_disk_takes_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{text}\n")
    with pytest.raises(InputErrors, match="less than or equal to"):
        load_config(path, {}, {})


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1X", "1e9", "ten", "9" * 40, "١M", "1.٥K", "1\u212a"]
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a size such as 20M"):
        parse_size(text)


def test_mirrors_replace_the_longest_origin_in_order(file: Path) -> None:
    config, _ = load_config(file, {}, {})
    assert mirror_urls(config, "https://dl.k8s.io/a/b") == (
        "http://127.0.0.1:8081/dl.k8s.io/a/b",
        "https://dl.k8s.io/a/b",
    )
    assert mirror_urls(config, "https://dl.k8s.io.evil/a") == ("https://dl.k8s.io.evil/a",)
    assert registry_bases(config, "registry.k8s.io") == ("http://127.0.0.1:5000/registry.k8s.io",)
    assert registry_bases(config, "docker.io") == ("https://registry-1.docker.io",)
    for name in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        hub = Config(mirrors={name: ("https://mirror.example/hub",)})
        assert registry_bases(hub, "docker.io") == ("https://mirror.example/hub",)


def test_a_bare_host_stands_for_files_as_well_unless_an_origin_says_more() -> None:
    config = Config(
        mirrors={
            "https://github.com/special": ("http://one/special",),
            "github.com": ("http://two/github",),
            "dl.k8s.io": ("http://two/dl",),
        }
    )
    assert mirror_urls(config, "https://dl.k8s.io/a") == ("http://two/dl/a",)
    assert mirror_urls(config, "https://github.com/a") == ("http://two/github/a",)
    assert mirror_urls(config, "https://github.com/special/a") == ("http://one/special/a",)
    assert mirror_urls(config, "https://dl.k8s.io.evil/a") == ("https://dl.k8s.io.evil/a",)
    config = Config(mirrors={"h": ("http://bare",), "https://h": ("http://full",)})
    assert mirror_urls(config, "https://h/a") == ("http://full/a",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("store", "{folder}/store"), ("../s", "{folder}/../s"), ("/abs", "/abs"), ("~/s", "~/s")],
)
def test_a_store_is_relative_to_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = tmp_path / "config.yaml"
    path.write_text(f"store: {written}\n")
    assert load_config(path, {}, {})[0].store == meant.format(folder=tmp_path)
    assert load_config(path, {"ISOBUILDER_STORE": written}, {})[0].store == written


@pytest.mark.parametrize(
    "rest",
    [
        *(
            "/../../root/.ssh/id_rsa",
            "/%2e%2e/x",
            "/a/.%2E/../b",
            "/a%2f..%2f..%2fb",
            "/./x",
            "/..",
        ),
        "/a/..",
    ],
)
def test_an_address_that_climbs_does_not_leave_its_mirror(rest: str) -> None:
    config = Config(mirrors={"https://site.example": ("file:///srv/mirror",)})
    with pytest.raises(InputError, match="leads out of"):
        mirror_urls(config, f"https://site.example{rest}")


def test_the_folders_of_mirrors_are_all_that_is_read_of_this_machine() -> None:
    mirrors = {
        "https://a.example": ("file:///srv/a", "https://b.example"),
        "registry.k8s.io": ("file:///srv/registry%20x",),
    }
    folders = Config(mirrors=mirrors).http.folders
    assert folders == (Path("/srv/a"), Path("/srv/registry x"))
    assert Config().http.folders == ()


def test_files_of_servers_are_meant_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "servers:\n"
        "  https://mirror.example:8443/a: {ca_file: ca.pem, client_certificate: /etc/c.pem,\n"
        "    client_key: keys/c.key, user: ca.pem, password_file: ~/token}\n"
    )
    server = load_config(path, {}, {})[0].http.servers[0]
    assert server.address == "https://mirror.example:8443/a"
    assert server.ca_file == tmp_path / "ca.pem"
    assert server.client_certificate == Path("/etc/c.pem")
    assert server.client_key == tmp_path / "keys/c.key"
    assert server.user == "ca.pem"
    assert server.password_file == Path("~/token").expanduser()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://a.example: {password: x}", "secrets are never in this file"),
        ("https://a.example: {user: x}", "user belongs to a password_file"),
        ("https://a.example: {client_key: x}", "client_key belongs to a client_certificate"),
        ("a.example: {ca_file: x}", "expected https://host"),
        ("https://u:p@a.example: {ca_file: x}", "credentials in the address"),
        ("https://a.example: ca.pem", "wrong.yaml:1:30"),
    ],
)
def test_mistakes_of_servers_are_told(text: str, told: str, tmp_path: Path) -> None:
    assert told in wrong(f"servers: {{{text}}}", tmp_path)
