"""Versions of upstream projects: read strictly, ordered as SemVer orders them."""

from __future__ import annotations

import pytest

from isobuilder.formats.version import ReleaseVersion, version_of


def test_final_releases_come_after_what_leads_to_them() -> None:
    texts = ["1.36.0-alpha.1", "1.36.0-beta.0", "1.36.0-rc.0", "1.36.0-rc.1", "1.36.0", "1.36.10"]
    assert [str(one) for one in sorted(map(ReleaseVersion, reversed(texts)))] == texts
    assert [ReleaseVersion(text).is_final for text in texts] == [False] * 4 + [True] * 2


def test_a_leading_v_is_no_part_of_it() -> None:
    assert ReleaseVersion("v2.3.7") == ReleaseVersion("2.3.7")
    assert (ReleaseVersion("v2.3.7").line_text, ReleaseVersion("v2.3.7").major) == ("2.3", "2")


NONE = ["", "v", "1", "1.2", "01.2.3", "1.2.3.4", "1.2.3+x", "latest", "1.2.3\n", "9" * 12]
# Pre-releases that SemVer does not know: https://semver.org, section 9.
NONE += ["1.2.3-", "1.2.3-rc.", "1.2.3-.rc", "1.2.3-rc..1", "1.2.3-01", "1.2.3-rc.00"]
NONE += [f"1.2.3-{'9' * 19}", "1.2.3-" + ".".join("a" * 11)]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_version_is_none(text: str) -> None:
    assert version_of(text) is None
    with pytest.raises(ValueError, match="expected a version"):
        ReleaseVersion(text)


@pytest.mark.parametrize("ending", ["-rc.1", "-0", "-0a", "--", "-beta.0.2", "-x-y.7"])
def test_pre_releases_are_those_of_semver(ending: str) -> None:
    assert str(ReleaseVersion(f"v1.2.3{ending}")) == f"1.2.3{ending}"
