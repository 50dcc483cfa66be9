"""A few cases of every target, the same each time; and the fuzzer finds what it looks for."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.errors import InputError
from tests.fuzz.__main__ import Campaign, Tally, again, campaign, chance_of, ready
from tests.fuzz.judging import SECRET, at_home, tried
from tests.fuzz.samples import Samples
from tests.fuzz.target import Read
from tests.fuzz.targets import TARGETS
from tests.test_architecture import PACKAGE, name_of

SEED = "tests"

READERS = ("formats/", "documents/", "iso/read/", "http/", "sources/", "mold/api/", "store/")
"""Rooms in which foreign bytes are read; each of their modules has a target, or a reason."""

READ_ELSEWHERE = {
    "documents/merge.py": "values that were read",
    "documents/mistakes.py": "what is told of them",
    "documents/nodes.py": "values that were read",
    "documents/text.py": "what we write",
    "formats/prometheus.py": "what we wrote, by a regular expression",
    "http/encrypted.py": "TLS, which the library reads; what is in it another module",
    "http/pacing.py": "counts tries",
    "http/presence.py": "tests/site/test_push_ways.py: answers of storages to a range of a byte",
    "http/proxies.py": "tests/http/test_proxies.py: variables of the environment",
    "http/sending.py": "sends files, and reads none of them",
    "http/serving.py": "connections; what they bring is read by another module",
    "http/settings.py": "our own settings",
    "http/socks.py": "tests/http/test_proxies.py: answers of a few bytes",
    "mold/api/access.py": "what a refusal means",
    "mold/api/clock.py": "time",
    "mold/api/commands.py": "records that were read",
    "mold/api/signing.py": "what we write",
    "sources/beside.py": "addresses that were read",
    "sources/download.py": "what is wanted",
    "sources/evidence.py": "tests/documents/test_borders.py: lists of bundles, which others read",
    "sources/kubeadm.py": "tests/sources/test_kubeadm.py: its one program is not for a fuzzer",
    "sources/mirrors.py": "the order of addresses",
    "sources/named.py": "manifests that were read",
    "sources/pushing.py": "tests/documents/test_borders.py: lists of tags and of what refers",
    "sources/ranges.py": "arithmetic",
    "sources/remote.py": "hashes blobs; what tags name is read by another module",
    "sources/rendering/render.py": "starts programs; what they print is read as manifests are",
    "sources/session.py": "puts tools together",
    "sources/upstream/choose.py": "releases that were read",
    "sources/upstream/look.py": "asks, and hands on to its readers",
    "sources/upstream/newest.py": "values that were read",
    "sources/upstream/notices.py": "releases that were read",
    "sources/upstream/sight.py": "values that were read",
    "sources/upstream/whole.py": "asks whether things are there",
}


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return Samples(tmp_path_factory.mktemp("fuzz") / "samples").make()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    with at_home(tmp_path) as folder:
        yield folder


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_cases_of_each_target_end_as_they_should(
    name: str, samples: Samples, work: Path
) -> None:
    with ready(TARGETS[name], samples) as rig:
        for number in range(TARGETS[name].few):
            data = rig.case(chance_of(name, SEED, number))
            found = tried(rig.read, data, work)
            assert found.fault is None, f"case {number}: {found.fault}"


def test_every_module_that_reads_foreign_bytes_has_a_target() -> None:
    there = {name_of(path) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    read = {module for target in TARGETS.values() for module in target.reads}
    assert read <= there
    readers = {name for name in there if name.startswith(READERS)}
    assert readers - read == READ_ELSEWHERE.keys()


def test_the_same_seed_gives_the_same_cases(samples: Samples) -> None:
    with ready(TARGETS["recipe"], samples) as rig:
        first, again_, other = (
            [rig.case(chance_of("recipe", seed, n)) for n in range(20)] for seed in "aab"
        )
    assert first == again_ != other


def _raises(_data: bytes, _work: Path) -> object:
    return {"a": 1}["x"]


def _takes_memory(_data: bytes, _work: Path) -> object:
    return bytearray(b"x") * (400 * 1024 * 1024)


def _writes_elsewhere(_data: bytes, work: Path) -> object:
    return (work.parent / "x").write_text("x")


def _reads_secrets(_data: bytes, work: Path) -> object:
    return (work.parent / "secret" / "id_rsa").read_text()


def _tells_secrets(_data: bytes, _work: Path) -> object:
    raise InputError(f"line 1: {SECRET}")


def _starts_programs(_data: bytes, _work: Path) -> object:
    return subprocess.run(["true"], check=True)


def _acts_on_terminals(data: bytes, _work: Path) -> object:
    raise InputError(data.decode())


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (_raises, "KeyError"),
        (_takes_memory, "MiB of memory"),
        (_writes_elsewhere, "for writing"),
        (_reads_secrets, "read "),
        (_tells_secrets, "a file that no case may read"),
        (_starts_programs, "started 'true'"),
    ],
)
def test_a_broken_promise_is_a_fault(read: Read, fault: str, work: Path) -> None:
    assert fault in (tried(read, b"", work).fault or "")


def test_an_error_of_ours_is_none(work: Path) -> None:
    found = tried(_acts_on_terminals, b"x.yaml: no", work)
    assert (found.fault, found.told) == (None, "x.yaml: no\n")


def test_what_takes_too_long_is_ended(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.judging.CPU", 0.2)

    def forever(_data: bytes, _work: Path) -> object:
        while True:
            pass

    assert "processor time" in (tried(forever, b"", work).fault or "")


def test_a_run_tells_its_seed_and_counts_and_keeps_what_can_be_tried_again(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = samples.folder.parent
    assert campaign("s", ["challenge"], 2.0, tmp_path / "out", base) == 0
    first, *_lines, last = capsys.readouterr().out.splitlines()
    assert first == "seed s, 2 s for 1 targets"
    assert re.fullmatch("seed s: [1-9][0-9]* cases, 0 faults", last)
    whole, tally = Campaign("s", tmp_path / "out", base), Tally("challenge")
    whole.keep(tally, 3, "KeyError: 'x': x.py:1")
    [case] = (tmp_path / "out").iterdir()
    assert f"make fuzz CASE={case}" in capsys.readouterr().out
    assert again(case, base).fault is None
