"""Which of two versions is later, as each kind of package has it.

Sources: Debian policy 5.6.12; rpm's ``rpmvercmp``; apk-tools' ``version.c``; Semantic Versioning
2.0 (11), which Go and npm follow; PEP 440.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cmp_to_key
from itertools import zip_longest
from typing import Any

from isobuilder.formats.packages.package import Kind

_LONGEST = 300  # characters of a version that are compared
_PARTS = re.compile(r"([^0-9]*)([0-9]*)")
_RPM_PARTS = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")
_SEMVER = re.compile(r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z.-]+))?(?:\+.*)?")
_GO_RELEASE = re.compile(r"([0-9]+(?:\.[0-9]+)*)((?:rc|beta)[0-9]+)")
_PEP440 = re.compile(
    r"v?(?:([0-9]+)!)?([0-9]+(?:\.[0-9]+)*)(?:[-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?([0-9]*))?"
    r"(?:(?:[-_.]?(post|rev|r)[-_.]?([0-9]*))|-([0-9]+))?(?:[-_.]?(dev)[-_.]?([0-9]*))?(?:\+(.*))?"
)
_APK = re.compile(
    r"([0-9]+(?:\.[0-9]+)*)([a-z]?)((?:_[a-z]+[0-9]*)*)(?:~[0-9a-f]+)?(?:-r([0-9]+))?"
)
_APK_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_APK_ORDER = {"alpha": -4, "beta": -3, "pre": -2, "rc": -1, "cvs": 1, "svn": 2, "git": 3, "hg": 4}
_BEFORE = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}


def compare(kind: Kind, left: str, right: str) -> int | None:
    """Return less than, equal to or more than 0 as ``left`` is earlier, the same or later.

    None when one of them is no version of that kind, so that nobody can tell.
    """
    left, right = left.strip(), right.strip()
    if max(len(left), len(right)) > _LONGEST:
        return None
    if kind == "deb":
        return _by_key(_debian, left, right)
    if kind == "rpm":
        return _by_key(_rpm, left, right)
    keys = {"apk": _apk, "golang": _semver, "npm": _semver, "pypi": _pep440}
    return _by_key(keys[kind], left, right)


def _by_key(key: Callable[[str], Any], left: str, right: str) -> int | None:
    one, other = key(left), key(right)
    if one is None or other is None:
        return None
    return int(one > other) - int(one < other)


def _epoch(version: str) -> tuple[int, str]:
    epoch, colon, rest = version.partition(":")
    return (int(epoch), rest) if colon and _is_number(epoch) else (0, version)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,20}", text) is not None


def _debian(version: str) -> Any:
    epoch, rest = _epoch(version)
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    return epoch, _DEBIAN_KEY(upstream), _DEBIAN_KEY(revision or "0")


def _verrevcmp(left: str, right: str) -> int:
    """Compare as dpkg does: runs of other characters, then runs of digits, in turn."""
    pairs = zip_longest(_PARTS.findall(left), _PARTS.findall(right), fillvalue=("", ""))
    for (words, digits), (other_words, other_digits) in pairs:
        weights = ([_weight(c) for c in text] for text in (words, other_words))
        for one, other in zip_longest(*weights, fillvalue=0):
            if one != other:
                return one - other
        numbers = int(digits or 0), int(other_digits or 0)
        if numbers[0] != numbers[1]:
            return numbers[0] - numbers[1]
    return 0


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 0x110000


_DEBIAN_KEY = cmp_to_key(_verrevcmp)


def _rpm(version: str) -> Any:
    epoch, rest = _epoch(version)
    upstream, _, release = rest.partition("-")
    return epoch, _RPM_KEY(upstream), _RPM_KEY(release)


def _rpmvercmp(left: str, right: str) -> int:
    if not left or not right:  # a release that is not told is any release
        return 0
    pairs = zip_longest(_RPM_PARTS.findall(left), _RPM_PARTS.findall(right), fillvalue="")
    ranks = ((_rpm_rank(one), _rpm_rank(other)) for one, other in pairs)
    return next(((one > other) - (one < other) for one, other in ranks if one != other), 0)


def _rpm_rank(part: str) -> tuple[int, int, str]:
    """Return a tilde before the end, the end before a caret, then words, then numbers."""
    if part in _RPM_MARKS:
        return _RPM_MARKS[part], 0, ""
    return (4, int(part), "") if part[0].isdecimal() else (3, 0, part)


_RPM_MARKS = {"~": 0, "": 1, "^": 2}
_RPM_KEY = cmp_to_key(_rpmvercmp)


def _apk(version: str) -> Any:
    match = _APK.fullmatch(version)
    if match is None:
        return None
    numbers = tuple(int(part) for part in match[1].split("."))
    suffixes = tuple(
        (_APK_ORDER.get(name, 5), int(digits or 0))
        for name, digits in _APK_SUFFIX.findall(match[3])
    )
    return numbers, match[2], (*suffixes, (0, 0)), int(match[4] or 0)


def _semver(version: str) -> Any:
    if go := _GO_RELEASE.fullmatch(version):
        version = f"{go[1]}-{go[2]}"
    match = _SEMVER.fullmatch(version)
    if match is None:
        return None
    numbers = tuple(int(part or 0) for part in match.groups()[:3])
    if match[4] is None:
        return numbers, 1, ()
    words = tuple(
        (0, int(word), "") if _is_number(word) else (1, 0, word) for word in match[4].split(".")
    )
    return numbers, 0, words


def _pep440(version: str) -> Any:
    match = _PEP440.fullmatch(version.lower())
    if match is None:
        return None
    epoch, numbers, before, before_number, post, post_number, dash, dev, dev_number, _ = (
        match.groups()
    )
    release = tuple(int(part) for part in numbers.split("."))
    while release and release[-1] == 0:
        release = release[:-1]
    after = -1
    if post or dash:
        after = int(post_number or dash or 0)
    first = (_BEFORE[before], int(before_number or 0)) if before else (3, 0)
    if dev and not before and after < 0:
        first = (-1, 0)
    last = int(dev_number or 0) if dev else 1 << 62
    return int(epoch or 0), release, first, after, last
