"""``trust show``, ``verify --trust``, and the page about both."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from isobuilder.pipeline.build import Built
from tests.cli.calling import call, errors
from tests.fakes.signed_upstream import write_policies
from tests.pipeline.world import run_cli

PAGES = Path(__file__).parents[2] / "docs"


def test_the_shipped_policies_tell_identity_issuer_and_known_holes() -> None:
    shown = call("trust", "show").stdout
    assert "krel-staging@k8s-releng-prod.iam.gserviceaccount.com" in shown
    assert "krel-trust@k8s-releng-prod.iam.gserviceaccount.com" in shown
    assert "https://accounts.google.com" in shown
    for version in ("1.24.8", "1.24.11", "1.25.7", "1.26.2", "1.28.2", "1.32.0"):
        assert f"kubernetes: images of {version} may be unsigned: " in shown
    found = json.loads(call("trust", "show", "--json").stdout)
    assert found["kubernetes"]["level"] == "needed"
    assert found["github"]["files"]["form"] == "attestation"


def test_how_many_builders_are_demanded_is_told(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "mine.yaml", more="    rebuilt: 2\n")
    shown = call("trust", "show", "--policies", policies).stdout
    programs = "k8s/kubeadm, k8s/kubelet, k8s/kubectl"
    assert f"kubernetes: {programs}: rebuilt from source by 2 builders" in shown


def test_a_file_of_policies_wins_over_the_shipped_ones(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "mine.yaml")
    shown = call("trust", "show", "--policies", policies).stdout
    assert "release@example.org" in shown
    assert "krel-" not in shown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{identity: a@b.example}", "identity and issuer belong together"),
        ("{fingerprints: [ABCD], keyring: runc, form: detached}", "fingerprints"),
        ("{key: x, identity: a@b.example, issuer: 'https://c.example'}", "or a key"),
        ("{}", "expected identity and issuer, or a key, or fingerprints"),
    ],
)
def test_a_policy_that_is_anybodys_is_an_error_of_its_file(
    text: str, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"schema: 1\npolicies:\n  mine:\n    files: {text}\n")
    (line, *_) = errors(call("trust", "show", "--policies", path, code=3))
    assert "mine.yaml:4:" in line
    assert why in line


def test_an_iso_that_nobody_signed_is_told_and_ends_with_5(built: Built) -> None:
    done = call("verify", built.iso, "--trust", code=5)
    assert "trust.signature: k8s/kubeadm: unsigned: the policy kubernetes expects" in done.stdout
    assert "BAD: " in done.stdout


def test_a_site_is_told_who_signed_what_arrived(built: Built) -> None:
    done = call("site", "check", built.iso, "--trust", code=5)
    assert "trust.signature: k8s/kubeadm: unsigned: the policy kubernetes expects" in done.stdout
    assert "trust.signature" not in call("site", "check", built.iso).stdout


def test_what_belongs_to_trust_is_refused_without_it(built: Built, tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "mine.yaml")
    call("verify", built.iso, "--policies", policies, code=2)


def test_a_root_that_is_none_is_refused(built: Built, tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    root.write_text("{}")
    (line,) = errors(call("verify", built.iso, "--trust", "--trusted-root", root, code=5))
    assert "not a trusted root" in line


@pytest.mark.parametrize("page", ["what-an-auditor-checks.md", "ko/what-an-auditor-checks.md"])
def test_the_page_for_auditors_is_followed_word_for_word(page: str, tmp_path: Path) -> None:
    text = (PAGES / page).read_text(encoding="utf-8")
    commands = re.findall(r"^\$ isobuilder (.*)$", text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        words = [
            str(found)
            for word in shlex.split(command)
            for found in (sorted(tmp_path.glob(word)) if "*" in word else [word])
        ]
        run_cli(*words, cwd=tmp_path, check=5 if "verify" in words else 0)
