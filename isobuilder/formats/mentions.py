"""Images that manifests name outside the image fields of pods: for whatever an operator starts.

An operator is told of its images by arguments, variables, fields of custom resources and pods in
the text of a ConfigMap or a Secret. Nothing of that can be pinned, but a site without a network has
to have them, so each text that looks like an image is told. What looks like one: a reference with a
registry and a tag or digest, whatever stands behind a key, flag or variable that ends in ``image``,
what is named in parts (registry, repository, tag ...), and what an address of ``docker://`` or
``oci://`` names. Texts that are JSON, or YAML with such parts, are read as such.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from isobuilder.documents.mistakes import InputErrors, Mark
from isobuilder.documents.yaml import MappingNode, ScalarNode, SequenceNode, YamlNode
from isobuilder.formats.manifests import (
    Document,
    Field,
    Manifest,
    read_manifest,
    step,
    target,
    written,
)
from isobuilder.formats.reference import ImageReference, spelled_out

_LONGEST = 600  # characters of a reference, generously
_KEY = re.compile(r"images?$", re.IGNORECASE)
_WITHIN = re.compile(r"(?:^|_)image_", re.IGNORECASE)  # RELATED_IMAGE_AGENT, but IMAGE_TAG as well
_FLAG = re.compile(r"--?[A-Za-z0-9._-]*image", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*")
# Behind a flag or key in a text, in quotes that may be escaped. It begins with what is rare, so
# that long texts take no long time.
_BEHIND = re.compile(
    r"image(?P<key>(?P<quote>\\*[\"'])?\s*[:=]\s*|[ \t]+)\\*[\"']?"
    r"(?P<text>[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*)",
    re.IGNORECASE,
)
# CDI's DataVolume, Istio's WasmPlugin, Flux. Without a tag ``oci://`` is a place of charts, and
# ``docker://`` with a number alone the version of a runtime.
_ADDRESS = re.compile(r"\b(?P<scheme>docker|oci)://(?P<text>[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*)")
_VERSION = re.compile(r"[0-9.]+")
_LINE = re.compile(r"[\s-]*[\"']?$")  # what stands before a key of a pod in a text
_BEHIND_NAME = re.compile(r"[:@][^/]*$")  # tag and digest
_NO_IMAGES = frozenset({"true", "false", "none", "null", "yes", "no", "auto", "default"})
_FILE = re.compile(r"\.(?:gif|ico|iso|jpe?g|png|qcow2|raw|svg|vmdk|webp)$", re.IGNORECASE)
_PROSE = "description"  # what schemas tell people is full of examples
_DEFAULT = "default"  # of a field, in its schema

_DEEPEST = 3  # texts within texts: JSON in the JSON of an annotation, and one more
_JSON = re.compile(r"\s*[{\[]\s*[\"{]")
# What JSON has that names images as documents do: dashboards have megabytes without it.
_TELLING = re.compile(
    r"(?:[Ii]mages?|IMAGES?|hub|registry|repository|newTag)\\*\"|IMAGE_|docker://|oci://"
)
_IN_PARTS = re.compile(r"^[ \t-]*(?:hub|newTag|registry|repository)[ \t]*:", re.MULTILINE)
_ENCODED = {"Secret": "data", "ConfigMap": "binaryData"}  # fields in base64


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


_Found = tuple[str, YamlNode, str, int]  # path, node, text and line within the node


def _texts(document: Document, fields: set[int], depth: int = 0) -> Iterator[_Found]:
    """Return what looks like an image, in a document that is ``depth`` texts deep."""
    stack: list[tuple[str, str, YamlNode, _Hub | None]] = [("", "", document.root, None)]
    seen = set(fields)
    while stack:
        path, key, mention, hub = stack.pop()
        node = target(mention)
        if id(node) in seen or key == _PROSE:
            continue
        seen.add(id(node))
        if isinstance(node, ScalarNode):
            if (text := written(node)) is not None:
                for found, line in _in_scalar(key, text, node.style, depth):
                    yield path, mention, found, line
            continue
        if isinstance(node, MappingNode):
            own = document.fields[id(node)]
            hub = _hub_of(own) or hub
            yield from _in_variable(path, own)
            for whole in _in_parts(path, own, hub, fields):
                # Its parts are no images of their own.
                seen |= {id(target(own[part].value)) for part in _NAMES if part in own}
                yield whole
            for decoded in _in_base64(path, document, own, depth):
                seen.add(id(target(decoded[1])))
                if decoded[2]:
                    yield decoded
        elif isinstance(node, SequenceNode):
            yield from _in_list(path, node)
        below = [
            (step(path, name), _key(name, key), part, hub)
            for name, (part, _) in document.below(node, "")
        ]
        stack += below[::-1]


def _key(name: str | int, above: str) -> str:
    """Return what a node stands at: a part of a list has the key of the list, images: [a, b]."""
    return above if isinstance(name, int) or name == _DEFAULT else name


def _in_scalar(key: str, text: str, style: str, depth: int) -> Iterator[tuple[str, int]]:
    if _names_image(key, text):
        yield text, 0
        return
    block = 1 if style in {"|", ">"} else 0  # a text that begins on the line below its mark
    inner = _read(text, style, depth)
    if inner is not None:
        for document in inner.documents:
            for _, node, found, line in _texts(document, set(), depth + 1):
                yield found, (block + node.start.line - 1 + line) * block
        return
    line = done = 0
    for at, word in sorted(set(_words(text))):
        line, done = line + text.count("\n", done, at), at
        yield word, (block + line) * block


def _read(text: str, style: str, depth: int) -> Manifest | None:
    """Return a text that is a document itself, and names images as documents do."""
    in_parts = style in {"|", ">"} and _IN_PARTS.search(text)
    in_json = _JSON.match(text) and _TELLING.search(text)
    if depth == _DEEPEST or not (in_json or in_parts):
        return None
    try:
        inner = read_manifest(text.encode(errors="replace"), "")
    except InputErrors:
        return None
    roots = [document.root for document in inner.documents]
    return None if any(isinstance(root, ScalarNode) for root in roots) else inner


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Return what in a text without structure looks like an image, and where."""
    for match in _WORDS.finditer(text):
        if _is_full(word := match[0].rstrip(".:")):
            yield match.start(), word
    for match in _ADDRESS.finditer(text):
        word = match["text"].rstrip(".:")
        tagged = ":" in word.rpartition("/")[2]  # a digest has one as well
        bare = match["scheme"] == "docker" and not _VERSION.fullmatch(word)
        if (tagged or bare) and _is_name(word):
            yield match.start("text"), word
    for match in _BEHIND.finditer(text):
        word = match["text"].rstrip(".:")
        before = text[max(0, match.start() - 200) : match.start()].rpartition("\n")[2]
        of_json = bool(match["quote"]) and ":" in match["key"]
        of_pod = ":" in match["key"] and _LINE.fullmatch(before) is not None
        plain = not match["key"].strip() and not _FLAG.search(before + "image")  # prose
        some = of_json or of_pod or any(mark in word for mark in ":/@")
        if not plain and some and _is_name(word):
            yield match.start("text"), word


def _in_variable(path: str, fields: Mapping[str, Field]) -> Iterator[_Found]:
    """Return what the name of a variable says of its value."""
    name, value = (written(fields[key].value) if key in fields else None for key in _VARIABLE)
    if name and value and _names_image(name, value):
        yield step(path, "value"), fields["value"].value, value, 0


def _in_base64(
    path: str, document: Document, fields: Mapping[str, Field], depth: int
) -> Iterator[_Found]:
    """Return what is in the values that an object keeps in base64; without a text: that it is."""
    kind = written(fields["kind"].value) if "kind" in fields else None
    where = _ENCODED.get(kind or "")
    if where is None or where not in fields:
        return
    node = target(fields[where].value)
    if not isinstance(node, MappingNode):
        return
    for key, field in document.fields[id(node)].items():
        try:
            text = base64.b64decode("".join((written(field.value) or "").split()), validate=True)
            decoded = text.decode()
        except ValueError:
            continue
        yield "", field.value, "", 0
        for found, _ in _in_scalar(key, decoded, "|", depth):
            yield step(step(path, where), key), field.value, found, 0


# --- images in parts ---

_VARIABLE = ("name", "value")
_NAMES = ("repository", "image", "newName", "name")


@dataclass(frozen=True, slots=True)
class _Hub:
    """What Istio's values say once, for all names of images below them."""

    place: str
    tag: str


def _hub_of(fields: Mapping[str, Field]) -> _Hub | None:
    place, tag, variant = (
        written(fields[key].value) if key in fields else None for key in ("hub", "tag", "variant")
    )
    return _Hub(place, f"{tag}-{variant}" if variant else tag) if place and tag else None


def _in_parts(
    path: str, fields: Mapping[str, Field], hub: _Hub | None, own: set[int]
) -> Iterator[_Found]:
    """Return the image that the fields of a mapping name together.

    Sources: Helm's customary values (registry, repository, tag, digest); gpu-operator's ImagePath
    (repository, image, version, which may be a digest); Istio's charts (hub, image, tag, where an
    image with a slash is whole); kustomize (name, newName, newTag).
    """
    if "image" in fields and id(target(fields["image"].value)) in own:
        return  # a container has its image in one text
    values = {key: text for key, each in fields.items() if (text := written(each.value))}
    named = _named_in_parts(values, hub)
    if named is not None and _is_name(named[1]):
        yield step(path, named[0]), fields[named[0]].value, named[1], 0


def _named_in_parts(values: Mapping[str, str], hub: _Hub | None) -> tuple[str, str] | None:
    """Return the key of the name and the whole reference, if more than a name is told."""
    registry = values.get("registry") or values.get("hub")
    tag, digest = values.get("tag"), values.get("digest") or values.get("sha")
    if (image := values.get("image")) and not registry and hub and "/" not in image:
        registry, tag = hub.place, tag or hub.tag
    if (name := values.get("repository")) is not None:
        key, tag = "repository", tag or (values.get("version") if registry or image else None)
        if image:  # of several parts it is no ImagePath's, and the repository perhaps one of git
            name = image if "/" in image or _is_whole(image) else f"{name.rstrip('/')}/{image}"
        told = bool(tag or digest or image)
    elif (name := image) is not None:
        key, tag = "image", tag or (values.get("version") if registry else None)
        told = bool(registry or tag or digest)
    else:
        key = "newName" if values.get("newName") else "name"
        name, changed = values.get(key), values.get("newTag")
        told = bool(changed or (registry and (tag or digest)))
        tag = changed or tag
    if not name or not told:
        return None
    if registry and not (key == "image" and (_is_whole(name) or ("hub" in values and "/" in name))):
        name = f"{registry.rstrip('/')}/{name}"
    return key, _tagged(name, tag, digest)


def _tagged(name: str, tag: str | None, digest: str | None) -> str:
    if tag and ":" in tag:
        tag, digest = None, tag
    if digest and ":" not in digest:
        digest = f"sha256:{digest}"
    told = _BEHIND_NAME.search(name)
    tagged = f"{name}:{tag}" if tag and not told else name
    return f"{tagged}@{digest}" if digest and "@" not in name else tagged


def _is_whole(name: str) -> bool:
    """Whether a name has a registry or a tag of its own."""
    first, slash, _ = name.partition("/")
    return bool(slash and ("." in first or ":" in first)) or bool(_BEHIND_NAME.search(name))


def _in_list(path: str, node: SequenceNode) -> Iterator[_Found]:
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
    if len(text) > _LONGEST or text.lower() in _NO_IMAGES or _FILE.search(text):
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
