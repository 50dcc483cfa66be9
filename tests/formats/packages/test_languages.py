from __future__ import annotations

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.golang import read_modules
from isobuilder.formats.packages.node import read_package
from isobuilder.formats.packages.python import read_metadata

TEXT = (
    "path\texample.com/tool/cmd/tool\n"
    "mod\texample.com/tool\tv1.2.3\th1:main=\n"
    "dep\tgolang.org/x/net\tv0.30.0\n"
    "=>\texample.com/fork/net\tv0.30.1\th1:fork=\n"
    "dep\tk8s.io/api\tv0.0.0\n"
    "=>\t./staging/src/k8s.io/api\t\n"
    "build\t-trimpath=true\n"
)


def test_a_program_tells_its_modules_as_they_were_replaced_and_its_go() -> None:
    tool, net, api, stdlib = read_modules("go1.24.6", TEXT)
    assert (tool.name, tool.version, tool.facts) == (
        "example.com/tool",
        "v1.2.3",
        (("go-sum", "h1:main="),),
    )
    assert (net.name, net.version) == ("example.com/fork/net", "v0.30.1")
    assert ("replaces", "golang.org/x/net@v0.30.0") in net.facts
    assert (api.name, api.facts) == ("k8s.io/api", (("replaced-by", "./staging/src/k8s.io/api"),))
    assert (stdlib.name, stdlib.version) == ("stdlib", "1.24.6")


def test_a_program_of_a_working_tree_has_the_version_of_its_commit() -> None:
    text = (
        "mod\texample.com/tool\t(devel)\n"
        f"build\tvcs.revision={'ab' * 20}\nbuild\tvcs.time=2026-01-02T03:04:05Z\n"
    )
    (tool, _) = read_modules("go1.24.6", text)
    assert tool.version == "v0.0.0-20260102030405-abababababab"


def test_a_commit_that_nobody_told_is_not_made_up() -> None:
    assert read_modules("devel", "mod\tx\t(devel)\n")[0].version == "(devel)"


def test_a_python_distribution_states_its_licence_in_one_of_three_ways() -> None:
    head = b"Metadata-Version: 2.4\nName: Flask_Thing\nVersion: 1.0\n"
    assert read_metadata(head + b"License-Expression: MIT\n").licences == ("MIT",)
    assert read_metadata(head + b"License: BSD-3-Clause\n\nLicense: none\n").licences == (
        "BSD-3-Clause",
    )
    classified = b"License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n"
    assert read_metadata(head + classified).licences == ("MIT License",)


def test_a_description_without_a_name_is_no_distribution() -> None:
    with pytest.raises(IntegrityError, match="without name or version"):
        read_metadata(b"Metadata-Version: 2.1\n\nName: in the body\nVersion: 1\n")


def test_a_node_package_states_its_licence_in_the_old_ways_too() -> None:
    found = read_package(b'{"name": "@a/b", "version": "1.0", "licenses": [{"type": "MIT"}, "X"]}')
    assert found is not None
    assert (found.name, found.licences) == ("@a/b", ("MIT", "X"))
    found = read_package(b'{"name": "b", "version": "1.0", "license": {"type": "ISC"}}')
    assert found is not None
    assert found.licences == ("ISC",)


@pytest.mark.parametrize("data", [b'{"type": "module"}', b"[]", b'{"name": 1, "version": "1"}'])
def test_what_only_tells_how_to_load_files_is_no_package(data: bytes) -> None:
    assert read_package(data) is None


def test_a_package_json_that_is_none_is_refused() -> None:
    with pytest.raises(IntegrityError, match="not JSON"):
        read_package(b"{,}")
    with pytest.raises(IntegrityError, match="levels deep"):
        read_package(b"[" * 2000 + b"]" * 2000)
