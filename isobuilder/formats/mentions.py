"""Images that manifests name outside the image fields of pods: for whatever an operator starts.

An operator is told of its images by arguments, variables, fields of custom resources and pods in
the text of a ConfigMap. Nothing of that can be pinned, but a site without a network has to have
them, so each text that looks like an image is told. What looks like one: a reference with a
registry and a tag or digest, and whatever stands behind a key, flag or variable that ends in
``image``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from isobuilder.documents.mistakes import Mark
from isobuilder.documents.yaml import MappingNode, ScalarNode, SequenceNode, YamlNode
from isobuilder.formats.manifests import Document, Field, Manifest, step, target, written
from isobuilder.formats.reference import ImageReference, spelled_out

_LONGEST = 600  # characters of a reference, generously
_KEY = re.compile(r"images?$", re.IGNORECASE)
_WITHIN = re.compile(r"(?:^|_)image_", re.IGNORECASE)  # RELATED_IMAGE_AGENT, but IMAGE_TAG as well
_FLAG = re.compile(r"--?[A-Za-z0-9._-]*image", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*")
# Behind a flag or key in a text. It begins with what is rare, so that long texts take no long time.
_BEHIND = re.compile(
    r"image(?P<key>[\"']?\s*[:=]\s*|[ \t]+)[\"']?(?P<text>[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*)",
    re.IGNORECASE,
)
_LINE = re.compile(r"[\s-]*[\"']?$")  # what stands before a key of a pod in a text
_BEHIND_NAME = re.compile(r"[:@][^/]*$")  # tag and digest
_NO_IMAGES = frozenset({"true", "false", "none", "null", "yes", "no", "auto", "default"})
_PROSE = "description"  # what schemas tell people is full of examples


@dataclass(frozen=True, slots=True)
class Mention:
    """A text that looks like the name of an image."""

    path: str  # e.g. spec.template.spec.containers[0].args[1]
    mark: Mark
    text: str
    by: str | None = None  # the operator that starts it without being told, so with any tag

    @property
    def name(self) -> str:
        """The reference, spelled out."""
        return spelled_out(self.text)

    @property
    def looked_up(self) -> str:
        """The name that a node would look for."""
        return ImageReference.parse(self.text).looked_up

    @property
    def is_reference(self) -> bool:
        """Whether the text is a reference at all."""
        return _is_name(self.text)

    def is_among(self, names: Collection[str]) -> bool:
        """Whether one of ``names``, which are spelled out, is this image.

        What an operator starts by itself counts with any tag, and from a copy of its repository.
        """
        if self.by is None:
            return self.name in names or self.looked_up in names
        wanted = f"/{ImageReference.parse(self.text).repository}"
        return any(_BEHIND_NAME.sub("", name, count=1).endswith(wanted) for name in names)


def mentions(manifest: Manifest) -> tuple[Mention, ...]:
    """Return each text outside image fields that looks like an image, each image once."""
    fields = {id(target(place.image.value)) for place in manifest.places}
    found: dict[str, Mention] = {}
    for document in manifest.documents:
        for path, node, text, line in _texts(document, fields):
            mark = manifest.mark(node)
            if line and mark.line is not None:
                mark = Mark(mark.file, mark.line + line, 1)
            mention = Mention(path, mark, text)
            found.setdefault(mention.name, mention)
    return tuple(found.values())


def _texts(document: Document, fields: set[int]) -> Iterator[tuple[str, YamlNode, str, int]]:
    """Return path, node, text and line within the node of what looks like an image."""
    stack: list[tuple[str, str, YamlNode]] = [("", "", document.root)]
    seen = set(fields)
    while stack:
        path, key, mention = stack.pop()
        node = target(mention)
        if id(node) in seen or key == _PROSE:
            continue
        seen.add(id(node))
        if isinstance(node, ScalarNode):
            if (text := written(node)) is not None:
                for found, line in _in_scalar(key, text, node.style):
                    yield path, mention, found, line
            continue
        if isinstance(node, MappingNode):
            yield from _in_mapping(path, document.fields[id(node)])
        elif isinstance(node, SequenceNode):
            yield from _in_list(path, node)
        # A list has the key that it stands at: images: [a, b].
        below = [
            (step(path, name), name if isinstance(name, str) else key, part)
            for name, (part, _) in document.below(node, "")
        ]
        stack += below[::-1]


def _in_scalar(key: str, text: str, style: str) -> Iterator[tuple[str, int]]:
    if _names_image(key, text):
        yield text, 0
        return
    block = 1 if style in {"|", ">"} else 0  # a text that begins on the line below its mark
    found = [(match.start(), match[0].rstrip(".:")) for match in _WORDS.finditer(text)]
    found = [(at, word) for at, word in found if _is_full(word)]
    for match in _BEHIND.finditer(text):
        word = match["text"].rstrip(".:")
        before = text[max(0, match.start() - 200) : match.start()].rpartition("\n")[2]
        of_pod = ":" in match["key"] and _LINE.fullmatch(before) is not None
        plain = not match["key"].strip() and not _FLAG.search(before + "image")  # prose
        if not plain and (of_pod or any(mark in word for mark in ":/@")) and _is_name(word):
            found.append((match.start("text"), word))
    line = done = 0
    for at, word in sorted(set(found)):
        line, done = line + text.count("\n", done, at), at
        yield word, (block + line) * block


def _in_mapping(path: str, fields: Mapping[str, Field]) -> Iterator[tuple[str, YamlNode, str, int]]:
    """Return what a variable or the parts of a reference say together."""
    values = {key: written(each.value) for key, each in fields.items()}
    name, value = values.get("name"), values.get("value")
    if name and value and _names_image(name, value):
        yield step(path, "value"), fields["value"].value, value, 0
    repository, tag = values.get("repository"), values.get("tag") or values.get("version")
    if repository and tag:
        registry = values.get("registry")
        whole = f"{registry}/{repository}:{tag}" if registry else f"{repository}:{tag}"
        if _is_name(whole):
            yield step(path, "repository"), fields["repository"].value, whole, 0


def _in_list(path: str, node: SequenceNode) -> Iterator[tuple[str, YamlNode, str, int]]:
    """Return what stands behind a flag that is an argument of its own."""
    texts = [written(item) for item in node.items]
    for index, (flag, value) in enumerate(pairwise(texts), 1):
        if flag and value and _FLAG.fullmatch(flag) and _is_name(value):
            yield step(path, index), node.items[index], value, 0


def _names_image(key: str, text: str) -> bool:
    """Whether the text at a key or in a variable is an image by what that is called."""
    whole = bool(_WITHIN.search(key)) and "/" in text
    return (whole or bool(_KEY.search(key))) and _is_name(text)


def _is_name(text: str) -> bool:
    """Whether a text that stands where an image belongs is a reference."""
    if len(text) > _LONGEST or text.lower() in _NO_IMAGES:
        return False
    try:
        ImageReference.parse(text)
    except ValueError:
        return False
    return not text.isdigit()


def _is_full(text: str) -> bool:
    """Whether a text is a reference with a registry and a tag or digest."""
    if len(text) > _LONGEST or "/" not in text or not (":" in text or "@" in text):
        return False
    try:
        reference = ImageReference.parse(text)
    except ValueError:
        return False
    first = text.partition("/")[0]
    ends = reference.digest is not None or text.endswith(f":{reference.tag}")
    return ends and first == reference.registry and ("." in first or ":" in first)
