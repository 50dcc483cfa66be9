"""Manifests that are rendered when they are locked: of Helm charts, of kustomizations.

Helm and kubectl are the user's own. They get no secret on a command line, a home of their own, and
so much time and output. What a chart is rendered with is in the lock, and what it gave as well: the
ISO carries the rendered text, and nothing is rendered again where it is built.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, UpstreamError
from isobuilder.files import own_path
from isobuilder.http.access import access_to
from isobuilder.model.config import mirror_urls, registry_bases
from isobuilder.model.lock import Evidence, LockedManifest, Rendered
from isobuilder.model.recipe import Chart, ManifestEntry, Recipe
from isobuilder.run import run_bounded
from isobuilder.sources.mirrors import first_good
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.rendering.kustomization import read_kustomization
from isobuilder.sources.session import Session

_log = logging.getLogger(__name__)

_MOST = 32 * 1024 * 1024  # bytes of a rendered manifest; those of CRDs have some MiB
_MOST_VALUES = 4 * 1024 * 1024
_MOST_CHART = 64 * 1024 * 1024  # bytes; charts have some 100 KiB
_MOST_WORDS = 64 * 1024
_PULL, _RENDER, _ASK = 300.0, 120.0, 30.0  # seconds

_GET_HELM = (
    "install helm 3 or later: https://helm.sh/docs/intro/install, or the package helm of brew, "
    "snap, dnf or pacman"
)
_GET_KUBECTL = "install kubectl: the package kubernetes-client of Debian, or kubectl of Kubernetes"
# What the programs themselves know of the way to a server.
_PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_NOWHERE = "http://127.0.0.1:0"  # no port at which anybody answers


@dataclass(frozen=True, slots=True)
class RenderedManifest:
    """The text, and what it was made of."""

    data: bytes
    rendered: Rendered


def lock_rendered(
    entry: ManifestEntry, recipe: Recipe, folder: Path, stem: str, session: Session
) -> LockedManifest:
    """Return ``entry`` rendered and locked; its text is in the store.

    The file that is to be written beside the lock begins with ``stem``.

    Raises:
        EnvironmentProblem, InputError, UpstreamError: as ``render``.
    """
    made = render(entry, recipe, folder, session)
    blob = session.store.add_bytes(made.data)
    return LockedManifest(
        name=entry.name,
        path=entry.path,
        url=f"file:{stem}.{entry.name}.yaml",
        sha256=blob.digest,
        size=blob.size,
        images=entry.images,
        evidence=Evidence(source="rendered"),
        rendered=made.rendered,
    )


def render(
    entry: ManifestEntry, recipe: Recipe, folder: Path, session: Session
) -> RenderedManifest:
    """Render the chart or kustomization of ``entry`` with what lies in ``folder``.

    Raises:
        EnvironmentProblem: the program is not installed, is too slow or prints too much.
        InputError: it cannot be rendered; carries the program's last lines.
        UpstreamError: the chart could not be had from its repository, nor from any mirror.
    """
    with tempfile.TemporaryDirectory(prefix="isobuilder-render-") as name:
        home = Path(name)
        if entry.chart is not None:
            return _Helm(entry, entry.chart, recipe, folder, session, home).render()
        return _kustomized(entry, folder, home)


def _kustomized(entry: ManifestEntry, folder: Path, home: Path) -> RenderedManifest:
    wanted = _inside(folder, entry.kustomize or "")
    if not wanted.is_dir():
        raise InputError(f"manifests[{entry.name}].kustomize: no folder {wanted}")
    version = _version(["kubectl", "version", "--client", "--output=json"], home, _GET_KUBECTL)
    found = read_kustomization(folder, entry.kustomize or "")
    copy = home / "copy"
    start = found.copy_to(copy)
    try:
        data = _rendered(["kubectl", "kustomize", str(start)], entry, _shut_in(home), home)
    except InputError as error:
        # It is the same file in the recipe's folder, where its author mends it.
        raise InputError(str(error).replace(f"{copy}/", f"{folder}/"), hint=error.hint) from None
    return RenderedManifest(
        data, Rendered(program="kubectl", version=version, kustomize=entry.kustomize)
    )


@dataclass(frozen=True, slots=True)
class _Helm:
    entry: ManifestEntry
    chart: Chart
    recipe: Recipe
    folder: Path  # of the recipe
    session: Session
    home: Path  # of helm, for this once

    def render(self) -> RenderedManifest:
        version = _version(["helm", "version", "--short"], self.home, _GET_HELM)
        self.session.progress.step(f"chart {self.chart} with helm {version}")
        archive, values = self._archive(), self._values()
        command = ["helm", "template", self.chart.release or self.entry.name, str(archive)]
        command += ["--namespace", self.chart.namespace, "--include-crds", "--skip-tests"]
        command += ["--kube-version", str(self.recipe.kubernetes)]
        command += ["--values", str(values)] if values else []
        env = _environment(self.home)
        data = _rendered(command, self.entry, env, self.folder)
        if _rendered(command, self.entry, env, self.folder) != data:
            _log.warning(
                "%s: each time the chart %s is rendered it gives something else, passwords or "
                "certificates perhaps; what was locked is on the ISO for anyone to read",
                self.entry.name,
                self.chart,
            )
        return RenderedManifest(
            data,
            Rendered(
                program="helm",
                version=version,
                chart=self.chart,
                archive=Digest.of(archive.read_bytes()),
                values=Digest.of(values.read_bytes()) if values else None,
            ),
        )

    def _values(self) -> Path | None:
        if self.chart.values is None:
            return None
        path = _inside(self.folder, self.chart.values)
        try:
            size = path.stat().st_size
            if path.is_file() and size <= _MOST_VALUES:
                return path
            fact = f"more than {_MOST_VALUES} bytes" if path.is_file() else "is no file"
        except OSError as error:
            fact = error.strerror or "cannot be read"
        raise InputError(f"manifests[{self.entry.name}].chart.values: {path}: {fact}")

    def _archive(self) -> Path:
        """Return the chart as its repository, or the first good mirror, serves it."""
        config, chart = self.session.config, self.chart
        if chart.repository.startswith("oci://"):
            host, _, path = chart.repository.removeprefix("oci://").partition("/")
            places = [f"{base}/{path}" for base in registry_bases(config, host)]
            ask = self._from_registry
        else:
            places = list(mirror_urls(config, chart.repository))
            ask = self._from_repository
        if config.offline:
            raise EnvironmentProblem(
                f"chart {chart}: not asked for because of --offline",
                hint="run without --offline; building from the lock needs no chart",
            )
        return first_good(f"chart {chart}", places, ask)

    def _from_registry(self, place: str) -> Path:
        parts = urlsplit(place)
        command = ["helm", "pull", f"oci://{parts.netloc}{parts.path}"]
        command += ["--plain-http"] if parts.scheme == "http" else []
        files = self._files_for(place)
        login = Credentials(servers=self.session.http.settings.servers).find(
            f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
        )
        named = os.environ.get("HELM_REGISTRY_CONFIG")
        own = own_path(named or "~/.config/helm/registry/config.json")
        if login is None and own.is_file():  # what helm registry login wrote
            command += ["--registry-config", str(own)]
        elif login is not None and login.user:
            pair = b64encode(f"{login.user}:{login.password}".encode()).decode()
            auths = {"auths": {parts.netloc: {"auth": pair}}}
            command += ["--registry-config", str(self._write("registry.json", auths))]
        command += [f"--{flag}={path}" for flag, path in files.items()]
        return self._pulled(command, place)

    def _from_repository(self, place: str) -> Path:
        chart = self.chart
        if place.startswith("file:"):
            path = Path(urlsplit(place).path) / f"{chart.name}-{chart.version}.tgz"
            if not path.is_file():
                raise UpstreamError(f"{path}: no such file")
            return path
        files = {"ca-file": "caFile", "cert-file": "certFile", "key-file": "keyFile"}
        source = {"name": "source", "url": place}
        source |= {files[flag]: str(path) for flag, path in self._files_for(place).items()}
        if (login := self.session.http.login_for(place)) is not None:
            source |= {"username": login.user, "password": login.password}
        # JSON is YAML, and nothing in it has to be quoted by us.
        listed = {"apiVersion": "v1", "repositories": [source]}
        config = ["--repository-config", str(self._write("repositories.yaml", listed))]
        self._helm(["helm", "repo", "update", "source", *config], place)
        return self._pulled(["helm", "pull", f"source/{chart.name}", *config], place)

    def _pulled(self, command: Sequence[str], place: str) -> Path:
        target = Path(tempfile.mkdtemp(dir=self.home))
        version = ["--version", self.chart.version, "--destination", str(target)]
        self._helm([*command, *version], place)
        found = [path for path in target.iterdir() if path.suffix == ".tgz"]
        if len(found) != 1 or found[0].stat().st_size > _MOST_CHART:
            raise UpstreamError(f"{place}: expected one chart of at most {_MOST_CHART} bytes")
        return found[0]

    def _helm(self, command: Sequence[str], place: str) -> None:
        try:
            run_bounded(
                command,
                timeout=_PULL,
                most_output=_MOST_WORDS,
                cwd=self.home,
                env=_environment(self.home),
            )
        except EnvironmentProblem as error:
            raise UpstreamError(f"{place}: {error}") from error

    def _files_for(self, place: str) -> Mapping[str, Path]:
        access = access_to(self.session.http.settings.servers, place)
        if access is None:
            return {}
        files = {
            "ca-file": access.ca_file,
            "cert-file": access.client_certificate,
            "key-file": access.client_key or access.client_certificate,
        }
        return {flag: path.resolve() for flag, path in files.items() if path is not None}

    def _write(self, name: str, value: object) -> Path:
        """Write a file that only this user can read, as the folder it is in."""
        path = self.home / name
        path.touch(mode=0o600)
        path.write_text(json.dumps(value), encoding="utf-8")
        return path


def _version(command: Sequence[str], home: Path, way_out: str) -> str:
    try:
        said = run_bounded(
            command, timeout=_ASK, most_output=_MOST_WORDS, cwd=home, env=_environment(home)
        )
    except EnvironmentProblem as error:
        hint = way_out if "not installed" in str(error) else None
        raise EnvironmentProblem(
            f"{error}, and the recipe has what it renders", hint=hint
        ) from error
    text = said.decode("utf-8", "replace")
    return next((word for word in text.replace('"', " ").split() if word[:2] in _BEGINS), text[:40])


_BEGINS = {f"v{digit}" for digit in "0123456789"}


def _rendered(
    command: Sequence[str], entry: ManifestEntry, env: Mapping[str, str], cwd: Path
) -> bytes:
    try:
        return run_bounded(command, timeout=_RENDER, most_output=_MOST, cwd=cwd, env=env)
    except EnvironmentProblem as error:
        raise InputError(f"manifests[{entry.name}]: {error}") from error


def _environment(home: Path) -> dict[str, str]:
    """Return what the programs see: a home that is empty, and the way to servers."""
    passed = {
        name: value
        for upper in _PASSED_ON
        for name in (upper, upper.lower())
        if (value := os.environ.get(name))
    }
    kinds = ("CACHE", "CONFIG", "DATA")
    return {
        "HOME": str(home),
        **{f"HELM_{kind}_HOME": str(home / kind) for kind in kinds},
        **passed,
    }


def _shut_in(home: Path) -> dict[str, str]:
    """Return what kubectl sees when it renders: no way to a server, and nothing git may fetch.

    All that a kustomization needs was found and copied; should kubectl want more, it fails.
    """
    proxies = {
        name: _NOWHERE
        for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        for name in (upper, upper.lower())
    }
    return {"HOME": str(home), "GIT_ALLOW_PROTOCOL": "none", **proxies}


def _inside(folder: Path, name: str) -> Path:
    """Return what ``name`` is in ``folder``, whatever links there are on the way.

    Raises:
        InputError: a link leads out of it.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{folder / name}: leads out of the recipe's folder")
    return path
