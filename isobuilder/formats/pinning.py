"""The same manifest with its images pinned, every other character as upstream wrote it.

The characters of an image and of its pull policy are exchanged where they stand. Then the result is
read again and compared value by value, so nothing else can have changed, however the text is
written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from isobuilder.documents.mistakes import InputErrors, Mistake
from isobuilder.documents.yaml import MappingNode, ScalarNode, YamlNode
from isobuilder.formats.manifests import (
    BINARY,
    IMAGE_FIELDS,
    Document,
    Field,
    Manifest,
    Place,
    read_manifest,
    scalar_value,
    step,
    target,
)
from isobuilder.formats.reference import spelled_out

PULL_POLICY = "IfNotPresent"

_KEEP = (
    "write the image as `image: NAME` on a line of its own in a copy of the manifest, "
    "or say images: keep for it in the recipe"
)

_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1 counts as one
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")  # anchor and tag before a value
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]*")


def pin(manifest: Manifest, names: Mapping[str, str], ignored: Collection[str] = ()) -> bytes:
    """Return the manifest's bytes with every image replaced by what ``names`` has for it.

    Names count as references, in whatever way they are spelled; the keys of ``names`` are those of
    ``spelled_out``. Each field also gets the pull policy ``IfNotPresent``. Texts in ``ignored`` are
    left as they are, whatever the spelling.

    Raises:
        InputErrors: an image that ``names`` does not have, or one written in a way that cannot be
            changed alone; names place and line, and the way out.
    """
    wanted: dict[int, str] = {}
    passed = {spelled_out(text) for text in ignored}
    mistakes: list[Mistake] = []
    changes = _Changes(manifest)
    for place in manifest.places:
        use, name = place.use, spelled_out(place.use.image)
        if name in passed:
            continue
        new = names.get(name)
        if new is None:
            fact = f"no locked image for {use.image!r}"
            hint = "run isobuilder lock again"
            mistakes.append(Mistake(use.mark, use.path, fact, hint))
        elif (unclear := _ambiguous(place)) is not None:
            mistakes.append(Mistake(use.mark, use.path, unclear, _KEEP))
        else:
            wanted[id(place.mapping)] = new
            changes.image(place, new)
    if mistakes:
        raise InputErrors(mistakes)
    pinned = changes.applied()
    try:
        again = read_manifest(pinned, manifest.place)
    except InputErrors as error:
        fact = f"it is written in a way that cannot be pinned: {error.mistakes[0].fact}"
        raise InputErrors([Mistake(error.mistakes[0].mark, "", fact, _KEEP)]) from error
    _compare(manifest, again, wanted)
    return pinned


def _ambiguous(place: Place) -> str | None:
    """Say why it is not clear which of several texts should change."""
    image_key = place.use.path.rpartition(".")[2]
    if any(isinstance(node, ScalarNode) and node.tag == BINARY for node in _values_of(place)):
        return "it is written as !!binary, so it cannot be pinned"
    for name, counts in ((image_key, place.image), (place.policy_key, place.policy)):
        written = [key for key, _ in place.mapping.pairs if _text(key) == name]
        if len(written) > 1:
            return f"the key {name!r} is there twice, so it cannot be pinned"
        if written and counts is not None and not counts.own:
            return f"the key {name!r} is there, and << after it counts, so it cannot be pinned"
    return None


def _values_of(place: Place) -> list[YamlNode]:
    return [target(each.value) for each in (place.image, place.policy) if each is not None]


@dataclass(slots=True)
class _Changes:
    manifest: Manifest
    edits: dict[tuple[int, int], str] = field(default_factory=dict)  # start, end -> new text

    def image(self, place: Place, new: str) -> None:
        """Write an image and its pull policy where they stand, or behind what stands there."""
        key = _text(place.image.key)
        fields: list[tuple[str, str]] = []
        if place.image.own:
            self._replace(place.image, new)
        else:
            fields.append((key, new))
        if place.policy is not None and place.policy.own:
            self._replace(place.policy, PULL_POLICY)
        else:
            fields.append((place.policy_key, PULL_POLICY))
        if fields:
            self._add(place, fields)

    def _replace(self, at: Field, new: str) -> None:
        start, end = self._span(at.value)
        if start == end:  # nothing is written there, perhaps not even a colon
            after = at.key.end.index
            colon = re.match(r"\s*:", self.manifest.text[after:start])
            after += colon.end() if colon else 0
            self.edits[after, after] = f" {new}" if colon else f": {new}"
        else:
            self.edits[start, end] = _quoted(new, at.key if _is_null_of_json(at) else at.value)

    def _span(self, node: YamlNode) -> tuple[int, int]:
        """Return the characters of a value, without its anchor and tag and the lines below it."""
        text, start, end = self.manifest.text, node.start.index, node.end.index
        if isinstance(node, ScalarNode) and (node.anchor is not None or node.tag is not None):
            properties = _PROPERTIES.match(text, start, end)
            start = properties.end() if properties else start
        while end > start and text[end - 1].isspace():
            end -= 1
        return start, end

    def _add(self, place: Place, fields: list[tuple[str, str]]) -> None:
        """Write fields behind the image, or behind ``<<`` where that comes later."""
        text, mapping = self.manifest.text, place.mapping
        key, value = max(
            (
                pair
                for pair in mapping.pairs
                if _text(pair[0]) == "<<" or pair[0] is place.image.key
            ),
            key=lambda pair: pair[0].start.index,
        )
        _, end = self._span(value)
        end = max(end, key.end.index)
        if mapping.flow:
            quote = key.style if isinstance(key, ScalarNode) else ""
            pairs = [f"{quote}{name}{quote}: {_quoted(new, quote)}" for name, new in fields]
            alone = text[mapping.start.index] != "{" and mapping.anchor is mapping.tag is None
            if alone:  # a list's item without braces, which has room for one field
                self.edits[mapping.start.index, mapping.start.index] = "{"
            self.edits[end, end] = "".join(f", {pair}" for pair in pairs) + "}" * alone
            return
        column = key.start.column if mapping.anchor or mapping.tag else mapping.start.column
        lines = [f"{' ' * (column - 1)}{name}: {_quoted(new)}" for name, new in fields]
        found = _LINE_END.search(text, end)
        if found is None:
            self.edits[len(text), len(text)] = "".join(f"\n{line}" for line in lines)
        else:
            self.edits[found.end(), found.end()] = "".join(line + found[0] for line in lines)

    def applied(self) -> bytes:
        """Return the manifest's bytes with all changes."""
        text, index = self.manifest.source.whole, self.manifest.source.index
        parts: list[str] = []
        done = 0
        for (start, end), new in sorted(self.edits.items()):
            parts += [text[done : index(start)], new]
            done = index(end)
        return self.manifest.source.encoded("".join([*parts, text[done:]]))


def _is_null_of_json(at: Field) -> bool:
    """Whether a value is a bare word behind a quoted key, so that JSON wants its text in quotes."""
    key, value = at.key, target(at.value)
    quoted = isinstance(key, ScalarNode) and key.style == '"'
    return quoted and isinstance(value, ScalarNode) and not isinstance(scalar_value(value), str)


def _quoted(new: str, like: YamlNode | str = "") -> str:
    quote = like if isinstance(like, str) else ""
    if isinstance(like, ScalarNode) and like.style in {"'", '"'}:
        quote = like.style
    return f"{quote}{new}{quote}" if quote or _PLAIN.fullmatch(new) else f'"{new}"'


def _text(node: YamlNode) -> str:
    node = target(node)
    return node.text if isinstance(node, ScalarNode) else ""


# --- nothing else changed ---


def _compare(before: Manifest, after: Manifest, wanted: Mapping[int, str]) -> None:
    """Refuse a result that differs from ``before`` in more than what ``wanted`` says."""
    if len(before.documents) != len(after.documents):
        before.refuse(before.documents[0].root, "pinning would change the documents", _KEEP)
    for old, new in zip(before.documents, after.documents, strict=True):
        if (other := _difference(old, new, wanted)) is not None:
            path, node = other
            mark = before.mark(node)
            fact = "pinning would change this too"
            raise InputErrors([Mistake(mark, path, fact, _KEEP)])


def _difference(
    before: Document, after: Document, wanted: Mapping[int, str]
) -> tuple[str, YamlNode] | None:
    """Return path and node of the first value that is not what it should be."""
    stack: list[tuple[str, YamlNode, YamlNode, str]] = [("", before.root, after.root, "")]
    seen: set[tuple[int, int, str]] = set()
    while stack:
        path, mention, new, role = stack.pop()
        old, new = target(mention), target(new)
        if (id(old), id(new), role) in seen:
            continue
        seen.add((id(old), id(new), role))
        if isinstance(old, ScalarNode):
            if not isinstance(new, ScalarNode) or _value(old) != _value(new):
                return path, mention
            continue
        below, there = dict(before.below(old, role)), dict(after.below(new, role))
        if isinstance(old, MappingNode) and role in IMAGE_FIELDS and id(old) in wanted:
            image_key, policy_key = IMAGE_FIELDS[role]
            image, _ = below.pop(image_key)
            below.pop(policy_key, None)
            told = [_text(there.pop(key)[0]) for key in IMAGE_FIELDS[role] if key in there]
            if told != [wanted[id(old)], PULL_POLICY]:
                return step(path, image_key), image
        if type(old) is not type(new) or below.keys() != there.keys():
            return path, mention
        stack += [(step(path, k), part, there[k][0], of) for k, (part, of) in below.items()]
    return None


def _value(node: ScalarNode) -> tuple[str, object]:
    return node.text, scalar_value(node)
