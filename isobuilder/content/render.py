"""The files of an ISO that no upstream has: we make them, from templates or from the lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jinja2

from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.formats.reference import ImageReference
from isobuilder.model.base import canonical_json
from isobuilder.model.lock import Lock
from isobuilder.model.recipe import Component, Render

_BIN_DIR = "/opt/bin"
"""Where nodes keep the programs of the ISO."""

_TEXTS = ("10-kubeadm.conf.j2", "kubelet.service.j2")
_CSI_FILES = ("manifest.yaml", "snapshot-crds.yaml")


def render(template_name: str, context: Mapping[str, Any]) -> bytes:
    """Return what the text template of that name gives with the values of ``context``.

    Raises:
        InputError: there is no such template, or a value is missing.
    """
    if template_name not in _TEXTS:
        raise InputError(
            f"no template {template_name!r}", hint=f"known templates: {', '.join(TEMPLATES)}"
        )
    try:
        text = _environment().get_template(template_name).render(context)
    except jinja2.UndefinedError as error:
        raise InputError(f"template {template_name}: {error.message}") from error
    return text.encode()


def render_file(lock: Lock, item: Render, digests: Mapping[str, Digest]) -> bytes:
    """Return the bytes of one rendered file of the ISO.

    ``digests`` has the files of the ISO that are made by now; a CSI profile names some of them.

    Raises:
        InputError: unknown template, or the lock has no component that the file speaks of.
    """
    maker = _MAKERS.get(item.template)
    place = f"{lock.base_name}: {item.path}"
    if maker is None:
        raise InputError(
            f"{place}: no template {item.template!r}",
            hint=f"known templates: {', '.join(TEMPLATES)}",
        )
    return maker(lock, digests, place)


def _unit(template_name: str) -> Callable[[Lock, Mapping[str, Digest], str], bytes]:
    return lambda _lock, _digests, _place: render(template_name, {"bin_dir": _BIN_DIR})


def _provider_ownership(lock: Lock, _digests: Mapping[str, Digest], place: str) -> bytes:
    """Say which provider owns load balancers. Form: schemaVersion 1 of Mold's ownership file."""
    provider = _component(lock, "provider", place)
    sdk_source = provider.facts.get("sdk_source_sha")
    if provider.source_sha is None or sdk_source is None:
        missing = "source_sha" if provider.source_sha is None else "facts.sdk_source_sha"
        raise InputError(
            f"{place}: components.provider has no {missing}",
            hint=f"add components.provider.{missing} to the recipe",
        )
    return canonical_json(
        {
            "schemaVersion": 1,
            "providerSource": provider.source_sha,
            "providerImage": _by_digest(lock, provider, place),
            "sdkSource": sdk_source,
        }
    )


def _csi_profile(lock: Lock, digests: Mapping[str, Digest], place: str) -> bytes:
    """Say which CSI driver and which bytes of its manifests were qualified together."""
    image = _by_digest(lock, _component(lock, "csi", place), place)
    missing = [path for path in _CSI_FILES if path not in digests]
    if missing:
        raise InputError(
            f"{place}: speaks of {missing[0]}, which is not on the ISO",
            hint=f"add {missing[0]} to the recipe's manifests",
        )
    return canonical_json(
        {
            "schemaVersion": 1,
            "apiSignature": "HmacSHA256",
            "driverImage": image,
            "files": {path: digests[path].hex for path in _CSI_FILES},
        }
    )


_MAKERS: Mapping[str, Callable[[Lock, Mapping[str, Digest], str], bytes]] = {
    **{name: _unit(name) for name in _TEXTS},
    "provider-ownership-v1.json.j2": _provider_ownership,
    "csi-profile.json.j2": _csi_profile,
}

TEMPLATES = tuple(sorted(_MAKERS))
"""What a recipe's ``render`` entries may name."""


def _component(lock: Lock, name: str, place: str) -> Component:
    component = lock.components.get(name)
    if component is None:
        raise InputError(
            f"{place}: needs the component {name!r}, and the lock has none",
            hint=f"describe it under components.{name} in the recipe",
        )
    return component


def _by_digest(lock: Lock, component: Component, place: str) -> str:
    """Return the component's image by the digest that was locked, which is how a node names it."""
    wanted = ImageReference.parse(component.image)
    for image in lock.images:
        for locked in map(ImageReference.parse, image.references):
            same_tag = wanted.tag is None or wanted.tag == locked.tag
            same_digest = wanted.digest is None or wanted.digest in {image.digest, image.index}
            if wanted.name == locked.name and same_tag and same_digest:
                return str(locked.with_digest(image.digest))
    raise InputError(
        f"{place}: the image {component.image} is not among the locked images",
        hint="add it to images.extra in the recipe, then run isobuilder lock",
    )


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("isobuilder.content", "templates"),
        autoescape=jinja2.select_autoescape(),  # HTML only, of which there is none
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
