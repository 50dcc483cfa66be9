from __future__ import annotations

import pytest

from isobuilder.formats.packages.order import compare
from isobuilder.formats.packages.package import Kind

ASCENDING: dict[Kind, list[str]] = {
    # Debian policy 5.6.12 and dpkg's t-version.
    "deb": [
        "1.0~~",
        "1.0~~a",
        "1.0~",
        "1.0",
        "1.0-1~bpo1",
        "1.0-1",
        "1.0-1+b1",
        "1.0a",
        "1.0+dfsg-1",
        "1.2",
        "1.10",
        "1:0.9",
        "2:0",
    ],
    # rpm's tests/rpmvercmp.at.
    "rpm": ["1.0~rc1-1", "1.0-1", "1.0^git1-1", "1.0.1-1", "1.0.1-2.el9", "1.0.10-1", "1:0.5-1"],
    # apk-tools' test/version.data.
    "apk": [
        "1.0_alpha1-r0",
        "1.0_beta-r0",
        "1.0_rc2-r0",
        "1.0-r0",
        "1.0-r1",
        "1.0_p1-r0",
        "1.0a-r0",
        "1.0.1-r0",
        "1.10-r0",
    ],
    # semver.org, 11.
    "golang": [
        "v1.0.0-alpha",
        "v1.0.0-alpha.1",
        "v1.0.0-alpha.beta",
        "v1.0.0-beta.2",
        "v1.0.0-beta.11",
        "v1.0.0-rc.1",
        "v1.0.0",
        "v1.0.1-0.20260101000000-abcdefabcdef",
        "v1.0.1",
        "1.22rc1",
        "1.22",
        "1.22.3",
    ],
    "npm": ["1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0"],
    # PEP 440, "Summary of permitted suffixes and relative ordering".
    "pypi": [
        "1.0.dev456",
        "1.0a1",
        "1.0a2",
        "1.0b1",
        "1.0rc1",
        "1.0",
        "1.0.post456.dev34",
        "1.0.post456",
        "1.1.dev1",
        "1.10",
        "1!0.1",
    ],
}


@pytest.mark.parametrize("kind", ASCENDING)
def test_versions_are_in_the_order_of_their_kind(kind: Kind) -> None:
    versions = ASCENDING[kind]
    for number, earlier in enumerate(versions):
        assert compare(kind, earlier, earlier) == 0
        for later in versions[number + 1 :]:
            before, after = compare(kind, earlier, later), compare(kind, later, earlier)
            assert before is not None
            assert after is not None
            assert before < 0 < after, f"{earlier} is before {later}"


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("deb", "1.0", "1.0-0"),
        ("pypi", "1.0", "1.0.0"),
        ("golang", "v1.2.3", "1.2.3"),
        ("rpm", "0:1.0-1", "1.0-1"),
    ],
)
def test_one_version_may_be_written_in_two_ways(kind: Kind, one: str, other: str) -> None:
    assert compare(kind, one, other) == 0


@pytest.mark.parametrize("kind", ["apk", "golang", "npm", "pypi"])
def test_what_is_no_version_cannot_be_compared(kind: Kind) -> None:
    assert compare(kind, "(devel)", "1.0") is None
    assert compare(kind, "1" * 5000, "1.0") is None
