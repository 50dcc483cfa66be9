"""Targets that are texts people or tools write: YAML, templates, lines and words."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from isobuilder.content.pin import pinned_names
from isobuilder.content.unpin import spellings_of, unpinned
from isobuilder.digest import Digest
from isobuilder.documents.template import TemplateProblem, expand
from isobuilder.errors import InputError
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.manifests import read_manifest
from isobuilder.formats.mentions import mentions
from isobuilder.formats.pinning import pin
from isobuilder.formats.reference import ImageReference, lockable, moving_part, spelled_out
from isobuilder.formats.sums import sum_line
from isobuilder.formats.version import ReleaseVersion
from isobuilder.http.access import Netrc
from isobuilder.http.addresses import check_address, climbs, redact
from isobuilder.machine.console import Console
from isobuilder.model.cluster_checks import load_cluster
from isobuilder.model.config import load_config, mirror_urls, registry_bases
from isobuilder.model.loading import load_recipe
from isobuilder.model.lock import Lock
from isobuilder.model.validation import parse_json
from isobuilder.mold.api.credentials import read_key_file, resolve_server
from isobuilder.nodeconfig.access import check_certificate_key, check_token, public_key_hash
from isobuilder.pipeline.cluster import make_seed
from isobuilder.site.ledgers.ledger import among, as_groups, make_ledger, of_groups, to_text
from isobuilder.site.ledgers.signed import BroughtLedger, read_brought
from isobuilder.sources.checksums import parse
from isobuilder.sources.registry_tokens import parse_challenge
from isobuilder.sources.rendering.kustomization import read_kustomization
from isobuilder.trust.short import ShortSignature
from tests.fuzz.judging import unfit
from tests.fuzz.mutation import Chance, edited_json, edited_text
from tests.fuzz.samples import Samples
from tests.fuzz.target import Rig, Target, Wrong, of_bytes, of_text, put
from tests.nodeconfig.clusters import SMALL, THREE

CONFIG = b"""\
mirrors:
  https://dl.k8s.io: [https://mirror.example/k8s, "file:///srv/mirror"]
  registry.k8s.io: [mirror.example/k8s]
store: cache
jobs: 4
limit_rate: 20MB
retries: 3
stall_timeout: 60
transfer: {least_speed: 1024}
mold:
  lab: {endpoint: "https://mold.example/client/api", key_file: keys, ca_file: ca.pem}
"""

CONSOLE = (
    b"\x1b[2J\x1b[01;01HGNU GRUB  version 2.12\r\n\x1b]0;title\x07[    0.0] Linux version 6.12\r\n"
    b"kiso: medium found on /dev/sr0\r\nkiso: root file system ready, 131 of 1976 MiB of memory in"
    b" use\nkiso: error: no disk\nkiso: hint: give it one\n[1] int3: 0000 [#1]\n-- System halted"
)

SUMS = (
    f"{'ab' * 32}  kubelet\n{'cd' * 32} *etcd-v3.6.5-linux-amd64.tar.gz\n".encode() * 3,
    f"SHA256 (kubelet) = {'ab' * 32}\nMD5 (kubelet) = {'ab' * 16}\n".encode(),
    b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
    + f"{'ab' * 32}  kubelet\n".encode()
    + b"-----BEGIN PGP SIGNATURE-----\n\nc3RhbmQ=\n=none\n-----END PGP SIGNATURE-----\n",
    b"ab" * 32,
)

NAMES = (
    *("nginx", "docker.io/library/nginx:1.27", "registry.k8s.io/pause:3.10.1", "localhost:5000/a"),
    "quay.io/calico/node:v3.32.2@sha256:" + "0f" * 32,
    *("1.34.12", "https://user:secret@host.example:8443/a/../b%2fc?q=1#f", "[::1]:5000/a/b:c"),
)

CHALLENGES = (
    b'Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull"',
    b'Basic realm="x", charset="UTF-8", Bearer realm="http://[::1]/t?x=1",error="invalid_token"',
)

NETRC = b"machine a.example login u password p\ndefault login x password y\nmacdef init\ncd /\n\n"

INI = b"[cloudstack]\nendpoint = http://127.0.0.1/client/api\nkey = k012345\nsecret = s9876543\n"
INI += (
    b"timeout = 10\nverify = /x.pem\n[other]\nendpoint = https://o.example\nkey=%(key)s\nsecret=b\n"
)

TEMPLATES = ("{{ kubernetes }}", "v{{ a ~ '-' ~ b }}", "{{ 'x' if a == '1' else b | upper }}")


def _recipe(samples: Samples, _stack: ExitStack) -> Rig:
    texts = [path.read_bytes() for path in sorted(samples.folder.glob("*.yaml"))]
    texts += [path.read_bytes() for path in sorted(Path("recipes").resolve().glob("*.yaml"))[:3]]
    bases = {path.name: path.read_bytes() for path in samples.folder.glob("*.yaml")}

    def read(data: bytes, folder: Path) -> object:
        for name, text in bases.items():  # which cases extend
            put(folder, name, text)
        return load_recipe(put(folder, "x.yaml", data))

    return of_text(texts, read)


def _config(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, folder: Path) -> object:
        path = put(folder, "config.yaml", data)
        variables = {"ISOBUILDER_MIRRORS": data[:200].decode("latin-1")}
        with contextlib.suppress(InputError):
            load_config(None, {**variables, "HOME": str(folder)}, {})
        config, _origins = load_config(path, {}, {})
        return mirror_urls(config, "https://dl.k8s.io/x"), registry_bases(config, "registry.k8s.io")

    return of_text([CONFIG], read)


def _cluster(_samples: Samples, _stack: ExitStack) -> Rig:
    kubelet = "kubelet: {maxPods: 9, evictionHard: {pid.available: 5%}, kubeReserved: {cpu: 1m}}"
    texts = [
        SMALL.encode(),
        THREE.replace("VERSION", "1.34.12").encode(),
        f"{SMALL}{kubelet}\n".encode(),
    ]
    return of_text(texts, lambda data, folder: load_cluster(put(folder, "c.yaml", data)))


def _seed(_samples: Samples, _stack: ExitStack) -> Rig:
    parts = (
        b"#cloud-config\nusers: [a]\n",
        b"instance-id: a\nlocal-hostname: b\n",
        b"version: 2\n",
    )
    marks = [b"\n=====\n".join(parts)]

    def read(data: bytes, folder: Path) -> object:
        names = ("user-data", "meta-data", "network-config", "token", "certificate-key", "ca.crt")
        for name, part in zip(names, data.split(b"\n=====\n"), strict=False):
            put(folder, name, part)
        text = data.decode("utf-8", "replace")
        for check in (check_token, check_certificate_key, public_key_hash):
            with contextlib.suppress(InputError):
                check(text, "x")
        return make_seed(folder, folder / "seed.iso", kind="nocloud")

    return of_text(marks, read)


def _template(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, _folder: Path) -> object:
        text = data.decode("utf-8", "replace")
        try:
            return expand(text, {"kubernetes": "1.34.12", "a": "1", "b": "x"})
        except TemplateProblem as problem:
            if bad := unfit(str(problem)):
                raise Wrong(bad) from problem
            return None

    return of_text([text.encode() for text in TEMPLATES], read)


def _checksums(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, _folder: Path) -> object:
        for line in data.decode("utf-8", "replace").splitlines():
            sum_line(line)
        return parse(data, place="https://x.example/sums").sha256_for("kubelet")

    return of_text(SUMS, read)


def _names(_samples: Samples, _stack: ExitStack) -> Rig:
    """References, versions and addresses: a ValueError is what these say of anything else."""

    def read(data: bytes, _folder: Path) -> object:
        text = data.decode("utf-8", "replace")
        spelled_out(text)
        redact(text)
        for host in ("github.com", "raw.githubusercontent.com", "cdn.jsdelivr.net", "a.example"):
            moving_part(host, text)
        for make in (
            ImageReference.parse,
            lockable,
            KubeVersion,
            ReleaseVersion,
            Digest,
            climbs,
            check_address,
        ):
            with contextlib.suppress(ValueError, InputError):
                make(text)
        with contextlib.suppress(ValueError):
            if ImageReference.parse(text) != ImageReference.parse(str(ImageReference.parse(text))):
                raise Wrong(f"{text!r} has two meanings")
            list(spellings_of(text))
        return None

    return of_text([name.encode() for name in NAMES], read)


def _challenge(_samples: Samples, _stack: ExitStack) -> Rig:
    return of_text(CHALLENGES, lambda data, _: parse_challenge(data.decode("latin-1")))


def _netrc(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, folder: Path) -> object:
        put(folder, "netrc", data)
        found = Netrc()
        for name in ("a.example", "b.example", ""):
            found.login(f"https://{name}/x", named_by_server=False)
        return None

    return of_text([NETRC], read)


def _console(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, folder: Path) -> object:
        console = Console(put(folder, "log", data[: len(data) // 2]))
        lines = console.update(1.0)
        put(folder, "log", data)
        lines += console.update(2.0)
        for line in (*lines, *console.errors, *console.hints):
            if bad := unfit(line):
                raise Wrong(bad)
        return None

    return of_bytes([CONSOLE, CONSOLE.replace(b"\r", b"")], read)


def _credentials(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, folder: Path) -> object:
        path = put(folder, ".cloudstack.ini", data)
        path.chmod(0o600)
        with contextlib.suppress(InputError):
            read_key_file(path)
        environ = {"HOME": str(folder)}
        if data[:1] > b"a":
            environ["CLOUDSTACK_ENDPOINT"] = data[:300].decode("latin-1").replace("\0", "")
        return resolve_server(None, {}, environ=environ, home=folder)

    return of_text([INI], read)


def _kubernetes(samples: Samples, _stack: ExitStack) -> Rig:
    texts = samples.like(".yaml")
    lock = parse_json(samples.locks[1], "x", Lock)
    names = pinned_names(lock)
    spellings = {new: tuple(spellings_of(old)) for old, new in names.items()}
    texts += [path.read_bytes() for path in samples.store.root.glob("blobs/sha256/*/*")]
    texts = [text for text in texts if b"kind:" in text]

    def case(chance: Chance) -> bytes:
        if chance.random() < 0.15:
            value = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "a:1"}]}}
            return edited_json(value, chance)
        return edited_text(chance.choice(texts), chance)

    def read(data: bytes, _folder: Path) -> object:
        manifest = read_manifest(data, "x.yaml")
        every = {
            spelled_out(use.image): "x.example/a@sha256:" + "0" * 64 for use in manifest.images
        }
        _ = manifest.objects, mentions(manifest)
        unpinned(data, spellings, Digest.of(b"other"))
        pinned = pin(manifest, {**every, **names})
        if len(read_manifest(pinned, "y.yaml").images) != len(manifest.images):
            raise Wrong("pinning changed how many images there are")
        return pinned

    return Rig(case, read)


def _ledger(_samples: Samples, _stack: ExitStack) -> Rig:
    held = [Digest.of(bytes([number])) for number in range(40)]
    texts = [to_text(make_ledger("x", held[:count], "isos")).encode() for count in (0, 1, 40)]
    blobs = make_ledger("x", held, "blobs")
    signed = BroughtLedger(blobs, ShortSignature(date(2026, 11, 29), bytes(64)))
    texts.append(signed.to_text().encode())
    texts += [of_groups(signed.to_text(), "x"), blobs.to_bytes()]
    packed = {data[:1] for data in texts[-2:]}

    def read(data: bytes, _folder: Path) -> object:
        if data[:1] in packed:  # with good letters around whatever was made of it
            data = as_groups(data).encode()
        return among(read_brought(data.decode("utf-8", "replace"), "x").ledger, held)

    return of_bytes(texts, read)


_KUSTOMIZATION = b"""resources: [a.yaml, ../base, a.yaml]
components: [part]
patches: [{path: p.yaml, target: {kind: Pod}}, {patch: "- {op: remove, path: /a}"}]
configMapGenerator: [{name: a, files: [a.yaml, x=p.yaml], envs: [a.yaml], literals: [a=b]}]
replacements: [{path: a.yaml}]
openapi: {path: a.yaml}
transformers:
- |
  {apiVersion: builtin, kind: PatchTransformer, metadata: {name: x}, path: p.yaml}
- a.yaml
"""


def _kustomization(_samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, folder: Path) -> object:
        for name in ("recipe/base", "recipe/site/part"):
            put(folder, f"{name}/kustomization.yaml", b"{}\n")
        for name in ("a.yaml", "p.yaml"):
            put(folder, f"recipe/site/{name}", b"kind: Pod\nmetadata: {name: a}\n")
        put(folder, "recipe/site/kustomization.yaml", data)
        found = read_kustomization(folder / "recipe", "site")
        return found.copy_to(folder / "copy")

    return of_text([_KUSTOMIZATION, b"{resources: [a.yaml]}\n"], read)


TEXTS = (
    Target(
        "ledger", ("site/ledgers/ledger.py", "site/ledgers/signed.py", "trust/short.py"), _ledger
    ),
    Target("recipe", ("documents/plain_yaml.py", "documents/yaml.py", "model/expand.py"), _recipe),
    Target("config", ("model/config.py", "documents/plain_yaml.py"), _config),
    Target("cluster-file", ("model/cluster_checks.py", "formats/kubelet.py"), _cluster),
    Target("seed", ("nodeconfig/seed.py", "nodeconfig/access.py"), _seed),
    Target("kustomization", ("sources/rendering/kustomization.py",), _kustomization),
    Target("template", ("documents/template.py",), _template),
    Target("checksums", ("sources/checksums.py", "formats/sums.py"), _checksums),
    Target(
        "names",
        ("formats/reference.py", "formats/kube.py", "formats/version.py", "http/addresses.py"),
        _names,
    ),
    Target("challenge", ("sources/registry_tokens.py",), _challenge),
    Target("netrc", ("http/access.py",), _netrc),
    Target("console", ("machine/console.py",), _console),
    Target("credentials", ("mold/api/credentials.py",), _credentials),
    Target(
        "manifests",
        (
            *("formats/manifests.py", "formats/mentions.py", "formats/pinning.py"),
            *("formats/manifest_text.py", "documents/json_stream.py"),
            *("content/unpin.py", "documents/yaml.py"),
        ),
        _kubernetes,
    ),
)
