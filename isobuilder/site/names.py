"""What images are called in the site's own registry, and what nodes have to be told of it.

The names in manifests stay: Mold insists on those of Headlamp and of its provider, and a rewritten
manifest is another one. Only where containerd gets the bytes changes, a registry at a time; so the
name at the site's registry has to end as the original one does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from isobuilder.errors import InputError
from isobuilder.formats.reference import DOCKER_HUB
from isobuilder.http.addresses import is_this_machine
from isobuilder.site.catalog import HeldRepository
from isobuilder.text import printable

FULL_NAMES = "{registry}/{repository}"
"""The usual rule: whole names, behind the path of the site's registry."""

_REGISTRY, _REPOSITORY = "{registry}", "{repository}"
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class PushTarget:
    """One repository of the ISOs, and its name at the registry of the site."""

    name: str
    held: HeldRepository


def targets_for(repositories: Iterable[HeldRepository], rule: str) -> tuple[PushTarget, ...]:
    """Return every repository with its name by ``rule``, in the order of names.

    Raises:
        InputError: the rule gives no names that nodes can be told of, or one name to two.
    """
    if not rule.endswith(_REPOSITORY) or re.search(r"[{}]", _filled(rule, "", "")):
        raise InputError(
            f"{printable(rule, 200)!r}: expected a rule that ends in {_REPOSITORY}, with no other "
            f"word in braces than {_REGISTRY}",
            hint=f"the usual one is {FULL_NAMES}",
        )
    found: dict[str, PushTarget] = {}
    for held in sorted(repositories, key=lambda repository: repository.name):
        registry, _, repository = held.name.partition("/")
        name = _filled(rule, registry.replace(":", "-"), repository)
        if len(name) > _LONGEST or not all(_PART.fullmatch(part) for part in name.split("/")):
            raise InputError(f"{name[:300]!r}: not the name of a repository, from {held.name}")
        first = found.setdefault(name, PushTarget(name, held))
        if first.held is not held:
            raise InputError(
                f"{first.held.name} and {held.name} would both be {name}",
                hint=f"keep {_REGISTRY} in the rule",
            )
    return tuple(found.values())


def registry_base(text: str) -> str:
    """Return the address of a registry, with https where no scheme is named.

    Raises:
        InputError: it is no address, or holds a login.
    """
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        known = None
    if not known or parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            "--registry: expected https://HOST[:PORT][/PATH] and no login in it",
            hint="log in with docker login or podman login",
        )
    path = f"{parts.path.strip('/')}/".removeprefix("v2/").strip("/")
    return f"{parts.scheme}://{parts.netloc}" + (f"/{path}" if path else "")


def is_private(base: str) -> bool:
    """Tell whether nobody on the way can read what is sent: TLS, or this machine."""
    parts = urlsplit(base)
    return parts.scheme == "https" or is_this_machine(parts.hostname)


def settings_text(base: str, targets: Sequence[PushTarget], rule: str) -> str:
    """Return what to tell containerd, kubeadm and Mold, to be read and copied."""
    registries = sorted({target.held.name.partition("/")[0] for target in targets})
    parts = [_hosts_file(base, registry, rule) for registry in registries]
    parts.append(_KUBEADM)
    kept = sorted(
        target.held.name
        for target in targets
        if target.held.name.rpartition("/")[2] in _INSISTED
        and target.held.name.startswith("ghcr.io/")
    )
    if kept:
        parts.append(_MOLD.format(names="".join(f"\n#   {name}" for name in kept)))
    return "\n".join(parts)


_INSISTED = ("headlamp", "ablestack-kubernetes-provider", "ablestack-kubernetes-csi")
"""The images by whose names Mold knows its add-ons; see docs/node-contract.md."""

_KUBEADM = """\
# kubeadm: leave imageRepository at registry.k8s.io; containerd takes the images from here.
"""
_MOLD = """\
# Mold: these names have to stay in the manifests, by digest, or it refuses its add-ons; the files
# above are all that its nodes need, in /etc/containerd/certs.d of the node template. Mold's own
# settings for a private registry are not needed.{names}
"""


def _hosts_file(base: str, registry: str, rule: str) -> str:
    parts = urlsplit(base)
    path = "/".join(filter(None, [parts.path.strip("/"), _prefix(rule, registry)]))
    server = "registry-1.docker.io" if registry == DOCKER_HUB else registry
    return (
        f"# /etc/containerd/certs.d/{registry}/hosts.toml\n"
        f'server = "https://{server}"\n\n'
        f'[host."{parts.scheme}://{parts.netloc}/v2/{path}"]\n'
        '  capabilities = ["pull", "resolve"]\n'
        "  override_path = true\n"
    ).replace('/v2/"', '/v2"')


def _prefix(rule: str, registry: str) -> str:
    return _filled(rule, registry.replace(":", "-"), "").strip("/")


def _filled(rule: str, registry: str, repository: str) -> str:
    return rule.replace(_REGISTRY, registry).replace(_REPOSITORY, repository)
