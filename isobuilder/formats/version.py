"""Versions of what upstream projects release: semantic versions, with or without a leading v."""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Any, ClassVar, Self

import semver
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

_NUMBER = "(?:0|[1-9][0-9]{0,8})"
_WORD = "(?:0|[1-9][0-9]{0,17}|[0-9]{0,17}[A-Za-z-][0-9A-Za-z-]{0,40})"  # SemVer 2.0, section 9
_FORM = re.compile(rf"v?({_NUMBER}(?:\.{_NUMBER}){{2}}(?:-{_WORD}(?:\.{_WORD}){{0,9}})?)")


@total_ordering
class ReleaseVersion:
    """``x.y.z``, maybe with a pre-release such as ``-rc.1``; ordered as SemVer 2.0 orders them.

    Raises:
        ValueError: the text is not of that form.
    """

    __slots__ = ("_version",)
    form: ClassVar[re.Pattern[str]] = _FORM
    wanted: ClassVar[str] = "a version x.y.z such as 2.3.7"

    def __init__(self, text: str) -> None:
        found = self.form.fullmatch(text)
        if found is None:
            raise ValueError(f"expected {self.wanted}, got {text[:40]!r}")
        self._version = semver.Version.parse(found[1])

    @property
    def line(self) -> tuple[int, int]:
        """The x and y of x.y.z: what gets patches together."""
        return self._version.major, self._version.minor

    @property
    def line_text(self) -> str:
        """The x.y of x.y.z."""
        return f"{self._version.major}.{self._version.minor}"

    @property
    def major(self) -> str:
        """The x of x.y.z."""
        return str(self._version.major)

    @property
    def is_final(self) -> bool:
        """Whether it is a release, and nothing before one."""
        return self._version.prerelease is None

    def __str__(self) -> str:
        return str(self._version)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._version == other._version

    def __lt__(self, other: ReleaseVersion) -> bool:
        return bool(self._version < other._version)

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let pydantic read it from a string and write it as one."""
        return core_schema.no_info_plain_validator_function(
            cls._from_input,
            serialization=core_schema.plain_serializer_function_ser_schema(str),
            json_schema_input_schema=core_schema.str_schema(pattern=rf"^{cls.form.pattern}$"),
        )

    @classmethod
    def _from_input(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError(f"expected {cls.wanted} in quotes, got {value!r}")  # noqa: TRY004
        return cls(value)


def version_of(text: str) -> ReleaseVersion | None:
    """Return the version that ``text`` is, or None: tags of projects are of many forms."""
    return ReleaseVersion(text) if _FORM.fullmatch(text) else None
