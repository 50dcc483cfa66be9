"""Rules of docs/security.md that new code has to keep: dangerous things are done in few places.

A module that needs one of them asks the place that has it, or is added here with its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "isobuilder"


@dataclass(frozen=True)
class Rule:
    """Where something may be done, and a line that would break the rule elsewhere."""

    why: str
    pattern: str
    example: str
    homes: dict[str, str] = field(hash=False)  # module or room -> what it does there


RULES = {
    "what is on an ISO": Rule(
        "what an ISO must contain is worked out by content/tree.py, for building and verifying",
        r"\b(write_iso|iso_digest)\(",
        "write_iso(entries, target, label=label, epoch=epoch)",
        {
            "iso/write/writer.py": "the writer",
            "pipeline/build.py": "with the digest of every file",
            "pipeline/cluster.py": "seeds, made of texts of ours",
            "site/repair.py": "with the digest of every file",
        },
    ),
    "strangers' programs": Rule(
        "a program that is not ours is run confined, and only kubeadm, when it is vouched for",
        r"\brun_confined\(",
        'run_confined(folder, ["tool"], timeout=1, most_output=1)',
        {"run.py": "the sandbox", "sources/kubeadm.py": "kubeadm"},
    ),
    "days and times": Rule(
        "what others call a day or a time is read in one place, which has no error of a library",
        r"\b(fromisoformat|strptime|parsedate_to_datetime|mktime)\b",
        "day = date.fromisoformat(text)",
        {
            "text.py": "ISO 8601",
            "http/failure.py": "heads of HTTP",
            "iso/write/author.py": "the clock of the library that writes ISOs",
        },
    ),
    "digits": Rule(
        "a number that others wrote is in the digits 0 to 9: patterns, and options, of Python take "
        "those of every script",
        r"\\d|\bIntRange\b|type=int\b",
        'port = re.fullmatch(r"\\d+", text)',
        {"cli/app.py": "WholeNumber"},
    ),
    "paths that people write": Rule(
        "a path of settings or a policy may begin with ~ and be wrong: it is read in one place",
        r"\.expanduser\(|\bPath\.home\(",
        "path = Path(text).expanduser()",
        {"files.py": "own_path"},
    ),
    "proof of bytes": Rule(
        "a Blob is a proof that bytes were hashed, so only the store makes one",
        r"(?<![A-Za-z])Blob\(|\.path_of\(|\bblob\.path\b",
        "blob = Blob(digest, size, path)",
        {"store/": "hashes them", "site/bundles/admit.py": "moves what is damaged away"},
    ),
    "whole bodies": Rule(
        "what is read whole has a limit before: of a blob, or of the reader named here",
        r"\.read\(\)",
        "data = response.read()",
        {
            "machine/payload.py": "a blob",
            "pipeline/payload.py": "a blob",
            "pipeline/lock.py": "a blob",
            "pipeline/unlisted.py": "a blob",
            "pipeline/evidence.py": "blobs",
            "pipeline/trust.py": "a file of an ISO whose size was looked at",
            "content/": "blobs, and files of an ISO whose size was looked at",
            "iso/write/bootable.py": "blobs",
            "iso/check/boot.py": "a file of an ISO whose size was looked at",
            "sources/resolve.py": "a blob",
            "sources/registry.py": "a blob",
            "site/bundles/arrival.py": "blobs",
            "site/check.py": "texts in memory, which have a bound together",
            "run.py": "the last bytes of a log",
        },
    ),
    "logins": Rule(
        "who gets a login is decided where logins are read, for addresses of the configuration",
        r"Authorization\"|\bnetrc\.netrc|trust_env|requests\.(get|post|head|Session)\(",
        "requests.get(url)",
        {
            "http/": "netrc, redirects",
            "demo/mold/": "a simulated Mold, without logins",
            "mold/api/transport.py": "takes none of the environment's",
        },
    ),
    "connections": Rule(
        "whoever is waited for has a deadline and a least speed: connections have one home",
        r"\b(import|from) (urllib3|socket|http\.client|ssl|asyncio|ftplib|urllib\.request)\b",
        "import urllib.request",
        {
            "http/": "the opener",
            "machine/qemu.py": "a pair of sockets between machines",
            "mold/address.py": "which address this machine has",
            "demo/mold/versions.py": "names, resolved as the simulated Mold does",
        },
    ),
    "writing": Rule(
        "files are written whole, private where they must be and through no link",
        r"\.write_(text|bytes)\(|\bopen\([^)]*[\"'][wax]b?\+?[\"']|\bos\.open\(|mkstemp\(",
        'Path("x").write_text("secret")',
        {
            "files.py": "whole files, locks, files of ours among others'",
            "store/": "blobs, notes and leases",
            "iso/write/writer.py": "an ISO, named when it is complete",
            "iso/read/rawiso.py": "reads a device",
            "run.py": "the log of a program",
            "cli/": "devices in place of closed streams",
            "contract/deep.py": "a folder of its own for containerd",
            "machine/": "folders of its own for mmdebstrap and QEMU",
            "nodeconfig/": "a folder of its own for openssl",
            "pipeline/boot.py": "a folder of its own for QEMU",
            "delta/prove.py": "a folder of its own for another process",
            "sources/rendering/": "folders of its own for helm and kubectl",
            "trust/rebuild/source.py": "a folder of its own for Go",
            "demo/": "a demonstration",
        },
    ),
    "any error": Rule(
        "what a parser can raise is caught at its border by name; all of them only where it is "
        "passed on to another thread, or a place is cleared up",
        r"except \(?(Exception|BaseException)\b",
        "except Exception:",
        {
            "cancel.py": "passes on",
            "files.py": "closes a lock and passes on",
            "store/blobs.py": "removes half a copy and passes on",
            "delta/container.py": "closes and passes on",
            "cli/jobs/metrics.py": "notes how the program ends and passes on",
            "trust/evidence/openpgp.py": "a library whose errors have no name of their own",
            "http/client.py": "frees a place and passes on",
            "http/serving.py": "a server of ours answers 500",
            "iso/read/reader.py": "closes and passes on",
            "iso/ring.py": "passes on to the thread that fills",
            "sources/fetch.py": "passes on to the thread that waits",
            "site/server.py": "goes on serving what it has",
            "cli/main.py": "the last door",
        },
    ),
    "pools of threads": Rule(
        "a Ctrl-C ends work in other threads too: they are begun by cancel.pooled",
        r"\bThreadPoolExecutor\b",
        "with ThreadPoolExecutor(8) as pool:",
        {},
    ),
    "endings": Rule(
        "children are ended in one place, which no second signal disturbs",
        r"\bos\.kill(pg)?\(|\.terminate\(\)|\.kill\(\)|signal\.signal\(",
        "process.terminate()",
        {
            "run.py": "children",
            "cli/exits.py": "what signals mean",
            "__main__.py": "what Ctrl-C means before that is known",
        },
    ),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def code_of(path: Path) -> str:
    """Return a module without comments, which may speak of anything."""
    return "\n".join(line.partition("  # ")[0] for line in path.read_text("utf-8").splitlines())


def keeps(rule: Rule, path: Path) -> bool:
    at_home = any(
        name_of(path) == home or (home.endswith("/") and name_of(path).startswith(home))
        for home in rule.homes
    )
    return at_home or not re.search(rule.pattern, code_of(path))


@pytest.mark.parametrize("rule", RULES)
def test_dangerous_things_are_done_in_few_places(rule: str) -> None:
    assert [name_of(path) for path in MODULES if not keeps(RULES[rule], path)] == []


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_would_notice(rule: str) -> None:
    assert re.search(RULES[rule].pattern, RULES[rule].example)


@pytest.mark.parametrize(
    ("rule", "home"), [(rule, home) for rule in RULES for home in RULES[rule].homes]
)
def test_each_home_is_still_needed(rule: str, home: str) -> None:
    at_home = [path for path in MODULES if name_of(path).startswith(home)]
    assert any(re.search(RULES[rule].pattern, code_of(path)) for path in at_home)


def test_the_page_tells_of_the_rules() -> None:
    page = (PACKAGE.parent / "docs/security.md").read_text("utf-8")
    assert [rule for rule in RULES if f"**{rule}**" not in page] == []
