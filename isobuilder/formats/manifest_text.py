"""The text of a file of manifests, and the documents that ``kubectl`` cuts it into.

Sources: k8s.io/cli-runtime, pkg/resource/visitor.go (a byte order mark decides about the encoding,
what is no text becomes U+FFFD); k8s.io/apimachinery, pkg/util/yaml/decoder.go (JSON values one
after another, then YAML, which lines that begin with ``---`` cut into documents).
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter

from isobuilder.documents.json_stream import json_values
from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.documents.yaml import (
    YamlLimits,
    YamlNode,
    mark_at,
    parse_yaml,
    refuse_unprintable,
)

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NO_TEXT = re.compile("[\udc80-\udcff]")  # a byte that is no UTF-8, as Python keeps it

# Marks that kubectl takes away: where the file begins, and where a document does.
_MARKS = re.compile("(?:\\A\ufeff?|^---[^\n]*\n)(\ufeff)", re.MULTILINE)
_SEPARATOR = re.compile("^---(.*)", re.MULTILINE)
_BEHIND_JSON = re.compile(r"[^\S\n]*---(?=\s|\Z)")
_DIRECTIVE = re.compile(r"(?:\A|^---.*\n)(?:[ \t]*(?:#.*)?\n)*(%)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ManifestText:
    """A file's text, for its readers and for whoever changes it."""

    whole: str  # every character of the file; bytes that are no text are kept as they are
    encoding: str
    read: str  # as readers take it: without byte order marks, and U+FFFD for what is no text
    shifts: tuple[tuple[int, int], ...]  # index in ``read``, and how far behind it ``whole`` is

    def index(self, index: int) -> int:
        """Return where in ``whole`` a character of ``read`` is."""
        number = bisect_right(self.shifts, index, key=itemgetter(0))
        return index + (self.shifts[number - 1][1] if number else 0)

    def encoded(self, whole: str) -> bytes:
        """Return the bytes of another text, in the encoding of this one."""
        errors = "surrogateescape" if self.encoding == "utf-8" else "surrogatepass"
        return whole.encode(self.encoding, errors)

    def odd_bytes(self, place: str) -> Mistake | None:
        """Return what to tell of bytes that kubectl takes for U+FFFD, without a word."""
        found = _NO_TEXT.search(self.whole)
        if found is None:
            return None
        fact = f"not UTF-8 text: byte 0x{ord(found[0]) - 0xDC00:02x}, which kubectl reads as U+FFFD"
        return Mistake(mark_at(self.whole, found.start(), place), "", fact, "save it as UTF-8")


def text_of(data: bytes, place: str) -> ManifestText:
    """Return the text of a file.

    Raises:
        InputErrors: it begins as UTF-16 and is none.
    """
    encoding = _UTF16.get(data[:2], "utf-8")
    try:
        errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
        whole = data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        fact = f"not UTF-16 text, as which it begins: {error.reason}"
        raise InputErrors([Mistake(Mark(place), "", fact, "save it as UTF-8")]) from None
    parts: list[str] = []
    shifts: list[tuple[int, int]] = []
    done = length = 0
    for match in _MARKS.finditer(whole) if "\ufeff" in whole else ():
        start, end = (
            (0, match.end()) if match.start() == 0 and whole[0] == "\ufeff" else match.span(1)
        )
        parts.append(whole[done:start])
        length += start - done
        done = end
        shifts.append((length, done - length))
    read = "".join([*parts, whole[done:]])
    return ManifestText(whole, encoding, _NO_TEXT.sub("\ufffd", read), tuple(shifts))


def documents_of(text: ManifestText, place: str, limits: YamlLimits) -> tuple[YamlNode, ...]:
    """Return the documents, empty ones left out.

    Raises:
        InputErrors: not YAML or JSON that kubectl would read, or beyond a limit; names the line.
    """
    read = text.read
    values: list[YamlNode] = []
    if read.lstrip()[:1] == "{":
        values += json_values(read, place, limits)
    end = values[-1].end.index if values else 0
    if len(values) > 1 and (other := re.compile(r"\S").search(read, end)) is not None:
        fact = "kubectl takes nothing but JSON behind two JSON values"
        raise InputErrors([Mistake(mark_at(read, other.start(), place), "", fact)])
    if values and (separator := _BEHIND_JSON.match(read, end)):
        end = separator.end()
    # What is left keeps its place in the file if blanks stand for what was read.
    rest = re.sub(r"[^\n]", " ", read[:end]) + read[end:]
    refuse_unprintable(rest.replace("\ufeff", " "), place)
    _refuse_what_only_yaml_has(rest, place)
    return (*values, *parse_yaml(rest, place, limits))


def _refuse_what_only_yaml_has(text: str, place: str) -> None:
    """Refuse what YAML allows and kubectl does not: a site would learn of it."""
    for found in _SEPARATOR.finditer(text):
        if (behind := found[1].strip()) and not behind.startswith("#"):
            fact = f"kubectl takes nothing but a comment after ---, found {behind[:40]!r}"
            hint = "begin what follows on a line of its own"
            raise InputErrors([Mistake(mark_at(text, found.start(1), place), "", fact, hint)])
    if (directive := _DIRECTIVE.search(text)) is not None:
        fact = "kubectl takes no directives such as %YAML"
        mark = mark_at(text, directive.start(1), place)
        raise InputErrors([Mistake(mark, "", fact, "leave the line out, and the --- below it")])
