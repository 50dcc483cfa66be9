"""Charts and kustomizations: rendered when they are locked, carried as what they gave."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from isobuilder.demo.content import fill, write_recipes
from isobuilder.demo.upstream import DemoUpstream
from isobuilder.digest import Digest
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import DifferencesFound, EnvironmentProblem, InputError, UpstreamError
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.config import Config
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.pipeline.build import build
from isobuilder.pipeline.lock import LockFile, find_lock, lock_recipe
from isobuilder.pipeline.recipes import check_recipe
from isobuilder.pipeline.verify import verify
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.fakes import helm
from tests.fakes.debian_registry import PASSWORD, USER, docker_registry, installed
from tests.fakes.hostile import FileServer, refuse
from tests.fakes.images import simple
from tools.lab.place import lab_dir

_BUILT = lab_dir() / "programs/helm/helm"
REAL = shutil.which("helm") or (str(_BUILT) if _BUILT.is_file() else None)
HELMS = [
    "stand-in",
    pytest.param(
        "real", marks=pytest.mark.skipif(REAL is None, reason="no helm: run make lab first")
    ),
]
CHART = "chart: {repository: https://charts.example/odd, name: odd, version: 1.2.3}"


@dataclass
class Place:
    upstream: DemoUpstream
    folder: Path
    charts: FileServer
    config: Config
    log: Path

    def recipe(self, source: str) -> Path:
        path = self.folder / "r.yaml"
        path.write_text(
            "schema: 1\nextends: kubernetes-1.34.12.yaml\narchitectures: [amd64]\n"
            "manifests:\n- {name: network, remove: true}\n"
            f"- {{name: net, path: network.yaml, images: pin, {source}}}\n"
        )
        return path

    def lock(self, source: str, *, store: str = "store", locked: bool = False) -> LockFile:
        with open_session(self.config, Store(self.folder / store)) as session:
            return lock_recipe(self.recipe(source), "amd64", session, locked=locked)

    def text(self, found: LockFile, *, store: str = "store") -> str:
        """Build, verify, and return the manifest that is on the ISO."""
        with open_session(self.config, Store(self.folder / store)) as session:
            iso = build(found.lock, self.folder / "dist", session, replace=True).iso
            result = verify(iso, lock=found.lock, store=session.store)
        assert [str(one) for one in result.findings] == []
        with IsoReader(iso) as reader, reader.open("network.yaml") as file:
            return file.read().decode()

    @property
    def arguments(self) -> list[str]:
        """Every word of every command line so far."""
        lines = self.log.read_text().splitlines()
        return [word for line in lines for word in json.loads(line)]


@pytest.fixture
def place(
    tmp_path: Path,
    files: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Place]:
    programs = tmp_path / "bin"
    programs.mkdir()
    if getattr(request, "param", "stand-in") == "real":
        log = helm.wrapped(programs, REAL or "")
    else:
        log = helm.stand_in(programs)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    files.add("odd/index.yaml", helm.index())
    files.add("odd/odd-1.2.3.tgz", helm.chart())
    with DemoUpstream() as upstream:
        fill(upstream)
        write_recipes(tmp_path)
        for name in ("a", "b"):
            upstream.put_image(f"extra.example/{name}", "1", simple(name))
        mirrors = {
            **upstream.mirrors,
            "https://charts.example": (files.url().rstrip("/"),),
            "extra.example": (f"{upstream.url}/extra.example",),
        }
        config = Config(mirrors=mirrors, retries=1, retry_budget=2.0)
        yield Place(upstream, tmp_path, files, config, log)


@pytest.mark.parametrize("place", HELMS, indirect=True)
def test_a_chart_is_rendered_its_images_locked_and_its_text_pinned_on_the_iso(place: Place) -> None:
    (place.folder / "values.yaml").write_text("image: b\n")
    more = "version: 1.2.3, values: values.yaml, release: one, namespace: two"
    found = place.lock(CHART.replace("version: 1.2.3", more))
    manifest = next(item for item in found.lock.manifests if item.name == "net")
    assert manifest.rendered is not None
    assert manifest.rendered.program == "helm"
    assert manifest.rendered.version.startswith("v3.")
    assert manifest.rendered.archive == Digest.of(helm.chart())
    assert manifest.rendered.values == Digest.of(b"image: b\n")
    assert load_lock(found.path) == found.lock.found_in(found.path.parent)
    assert "extra.example/b:1" in {image.reference for image in found.lock.images}
    text = place.text(found)
    assert 'name: "one", namespace: "two"' in text
    assert "extra.example/b@sha256:" in text
    assert "v1.34.12" in text


@pytest.mark.parametrize("place", HELMS, indirect=True)
def test_the_same_chart_gives_the_same_lock_and_a_changed_one_is_told(place: Place) -> None:
    first = place.lock(CHART).path.read_bytes()
    assert place.lock(CHART, locked=True).path.read_bytes() == first
    (place.folder / "values.yaml").write_text("image: b\n")
    with pytest.raises(DifferencesFound):
        place.lock(CHART.replace("1.2.3", "1.2.3, values: values.yaml"), locked=True)


def test_what_was_rendered_lies_beside_the_lock_and_is_all_another_machine_needs(
    place: Place,
) -> None:
    found = place.lock(CHART)
    written = place.folder / "r.amd64.net.yaml"
    assert Digest.of_file(written) in {item.sha256 for item in found.lock.manifests}
    (place.folder / "bin/helm").unlink()
    again = find_lock(place.folder / "r.yaml", "amd64")
    assert again is not None
    assert "extra.example/a@sha256:" in place.text(again, store="another")


def test_a_rendered_file_that_is_gone_or_changed_is_told(place: Place) -> None:
    found = place.lock(CHART)
    written = place.folder / "r.amd64.net.yaml"
    written.write_text(written.read_text() + "# by hand\n")
    with pytest.raises(InputError, match=r"r\.amd64\.net\.yaml: was changed since it was locked"):
        find_lock(place.folder / "r.yaml", "amd64")
    written.unlink()
    with pytest.raises(UpstreamError, match=r"r\.amd64\.net\.yaml: no such file"):
        place.text(found, store="another")


def test_values_that_changed_since_they_were_locked_are_told(place: Place) -> None:
    values = place.folder / "values.yaml"
    values.write_text("image: a\n")
    place.lock(CHART.replace("1.2.3", "1.2.3, values: values.yaml"))
    values.write_text("image: b\n")
    with pytest.raises(InputError, match=r"values\.yaml: was changed since it was locked"):
        find_lock(place.folder / "r.yaml", "amd64")


def test_another_version_of_the_chart_is_not_what_was_locked(place: Place) -> None:
    place.lock(CHART)
    place.recipe(CHART.replace("1.2.3", "1.2.4"))
    with pytest.raises(InputError, match=r"manifests\[net\]\.chart: the recipe has .*1\.2\.4"):
        find_lock(place.folder / "r.yaml", "amd64")


def test_without_helm_it_is_told_what_to_install(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentProblem, match="helm: not installed") as caught:
        place.lock(CHART)
    assert "helm.sh" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("yes", "printed more than"),
        ("sleep 60", "still running after"),
        ("echo 'values do not fit the schema' >&2; exit 1", "values do not fit the schema"),
        ("exit 0", None),
    ],
)
def test_helm_is_bounded_in_time_and_output(
    place: Place, script: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.sources.rendering.render._RENDER", 1.0)
    monkeypatch.setattr("isobuilder.sources.rendering.render._MOST", 100_000)
    program = place.folder / "bin/helm"
    own = program.rename(program.with_name("own"))
    program.write_text(f'#!/bin/sh\n[ "$1" = template ] || exec {own} "$@"\n{script}\n')
    program.chmod(0o755)
    if told is None:
        assert place.lock(CHART).lock.manifests  # an empty manifest is one
        return
    with pytest.raises(InputError, match=told):
        place.lock(CHART)


@pytest.mark.parametrize("place", HELMS[1:], indirect=True)
def test_a_repository_that_is_not_there_and_a_version_it_lacks_are_told(place: Place) -> None:
    with pytest.raises(UpstreamError, match=r"https://charts\.example/odd/odd 1\.2\.4"):
        place.lock(CHART.replace("1.2.3", "1.2.4"))
    place.charts.add("odd/index.yaml", b"", always=refuse(404))
    with pytest.raises(UpstreamError, match=r"index\.yaml"):
        place.lock(CHART)


@pytest.mark.parametrize("place", HELMS[1:], indirect=True)
def test_no_secret_is_on_a_command_line_of_helm(place: Place) -> None:
    password = place.folder / "password"
    password.write_text("geheim\n")
    server = {"user": "ci", "password_file": str(password)}
    servers = {place.charts.url().rstrip("/"): server}
    place.config = Config.model_validate({**place.config.model_dump(), "servers": servers})
    place.lock(CHART)
    assert "geheim" not in " ".join(place.arguments)
    sent = place.charts.requests("odd/index.yaml")[0].headers.get("authorization", "")
    assert sent.startswith("Basic ")


@pytest.mark.skipif(not installed(), reason="apt-get install docker-registry")
@pytest.mark.parametrize("place", HELMS[1:], indirect=True)
def test_a_chart_of_a_registry_behind_a_password_is_rendered(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("registry")
    with docker_registry(folder) as url:
        password = folder / "password"
        password.write_text(f"{PASSWORD}\n")
        servers = {url: {"user": USER, "password_file": str(password)}}
        mirrors = {**place.config.mirrors, "charts.example": (f"{url}/team",)}
        place.config = Config.model_validate(
            {**place.config.model_dump(), "servers": servers, "mirrors": mirrors}
        )
        helm.push(folder, REAL or "", url, USER, PASSWORD)
        found = place.lock("chart: {repository: oci://charts.example/odd, version: 1.2.3}")
    assert "extra.example/a:1" in {image.reference for image in found.lock.images}
    assert PASSWORD not in " ".join(place.arguments)


def test_a_folder_is_a_repository_too(place: Place) -> None:
    shelf = place.folder / "shelf"
    shelf.mkdir()
    (shelf / "odd-1.2.3.tgz").write_bytes(helm.chart())
    mirrors = {**place.config.mirrors, "https://charts.example/odd": (f"file://{shelf}",)}
    place.config = Config.model_validate({**place.config.model_dump(), "mirrors": mirrors})
    place.lock(CHART)
    assert place.charts.seen == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("chart: {repository: https://a.example, version: 1.2.3}", "expected the chart's name"),
        ("chart: {repository: oci://a.example/x, name: x, version: 1.2.3}", "expected the chart's"),
        ("chart: {repository: oci://a.example, version: 1.2.3}", "expected oci://host/path"),
        ("chart: {repository: http://a.example, name: x, version: 1.2.3}", "expected an https"),
        ("chart: {repository: https://a.example, name: x, version: ^1.2}", "version"),
        ("chart: {repository: https://a.example, name: x, version: 1.2.3, values: ../x}", "leaves"),
        ("chart: {repository: https://u:p@a.example, name: x, version: 1.2.3}", "credentials"),
        (f"{CHART}, url: 'https://a.example/x'", "expected one of url, chart and kustomize"),
        (f"{CHART}, kustomize: x", "found chart and kustomize"),
        (f"{CHART}, checksum: 'https://a.example/x'", "checksum belongs to a url"),
        ("kustomize: /etc", "expected a path from the recipe's folder on"),
        ("images: pin", "expected one of url, chart and kustomize, found none"),
    ],
)
def test_mistakes_of_a_chart_are_told_when_the_recipe_is_checked(
    place: Place, source: str, told: str
) -> None:
    if source == "images: pin":
        source = "checksum: null"
    with pytest.raises(InputErrors) as caught:
        load_recipe(place.recipe(source), "amd64")
    assert told in "\n".join(map(str, caught.value.mistakes))


# --- kustomize


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_a_kustomization_is_rendered(place: Place) -> None:
    folder = place.folder / "site"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(
        "resources: [pod.yaml]\nimages: [{name: old, newName: extra.example/b, newTag: '1'}]\n"
    )
    (folder / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
        "spec: {containers: [{name: a, image: old}]}\n"
    )
    found = place.lock("kustomize: site")
    manifest = next(item for item in found.lock.manifests if item.name == "net")
    assert manifest.rendered is not None
    assert (manifest.rendered.program, manifest.rendered.kustomize) == ("kubectl", "site")
    assert manifest.rendered.version.startswith("v1.")
    assert "extra.example/b@sha256:" in place.text(found)


POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
    "spec: {containers: [{name: a, image: 'extra.example/a:1'}]}\n"
)
NEEDS_KUBECTL = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not installed"
)


def put(folder: Path, **files: str) -> None:
    """Write files; ``__`` in a name is a slash, and ``_`` a dot."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def refused(place: Place) -> str:
    with pytest.raises(InputErrors) as caught:
        place.lock("kustomize: site")
    return "\n".join(caught.value.told())


@NEEDS_KUBECTL
@pytest.mark.parametrize(
    "named",
    [
        "resources: [../../private]",
        "resources: [/etc/hostname]",
        "resources: [pod.yaml, link]",
        "resources: [link/values.yaml]",
        "bases: [../../private]",
        "components: [../../private]",
        "crds: [../../private/values.yaml]",
        "configurations: [../../private/values.yaml]",
        "patches: [{path: ../../private/values.yaml}]",
        "patchesJson6902: [{path: ../../private/values.yaml}]",
        "patchesStrategicMerge: [../../private/values.yaml]",
        "configMapGenerator: [{name: a, files: [x=../../private/values.yaml]}]",
        "configMapGenerator: [{name: a, files: [link/values.yaml]}]",
        "secretGenerator: [{name: a, envs: [../../private/values.yaml]}]",
        "secretGenerator: [{name: a, env: ../../private/values.yaml}]",
        "replacements: [{path: ../../private/values.yaml}]",
        "openapi: {path: ../../private/values.yaml}",
        "generators: [../../private/values.yaml]",
        "transformers: ['{kind: PatchTransformer, metadata: {name: a}, Path: /etc/hostname}']",
        "validators: [plugin.yaml]",
        "resources: [inner]",
    ],
)
def test_a_kustomization_takes_no_file_from_outside_the_recipes_folder(
    place: Place, named: str
) -> None:
    private = place.folder / "private"
    place.folder /= "recipe"
    place.folder.mkdir()
    write_recipes(place.folder)
    put(private, kustomization_yaml="resources: [values.yaml]\n", values_yaml=POD)
    put(
        place.folder / "site",
        pod_yaml=POD,
        kustomization_yaml=f"{named}\n",
        inner__kustomization_yaml="resources: [../../../private]\n",
        plugin_yaml="kind: ConfigMapGenerator\nmetadata: {name: a}\nfiles: [/etc/hostname]\n",
    )
    (place.folder / "site/link").symlink_to(private)
    told = refused(place)
    assert "leads out of the recipe's folder" in told
    assert f"{place.folder}/site/" in told
    assert ".yaml:1:" in told or ".yaml:3:" in told
    assert "copy it into the recipe's folder" in told


@NEEDS_KUBECTL
@pytest.mark.parametrize(
    "address",
    [
        "file:///srv/repository",
        "http://127.0.0.1:8181/plain.yaml",
        "https://example.org/a.yaml",
        "HTTPS://example.org/a.yaml",
        "https://github.com/a/b//c?ref=v1",
        "github.com/a/b",
        "GitHub.com/a/b?ref=v1",
        "git@example.org:a/b",
        "host.xz:a/b",
        "git::ssh://example.org/a/b",
        "gh:a/b",
        "oci://example.org/a",
        "example.org/a/b//c",
        "dev.example.org/a/_git/b",
    ],
)
@pytest.mark.parametrize("field", ["resources", "components", "crds", "transformers"])
def test_a_kustomization_fetches_nothing(place: Place, address: str, field: str) -> None:
    put(place.folder / "site", kustomization_yaml=f"namePrefix: a-\n{field}: ['{address}']\n")
    told = refused(place)
    assert f"{field}[0]: {address!r} is not in the recipe's folder" in told
    assert "kustomization.yaml:2:" in told
    assert "hint: add what is there to the recipe as a manifest with url:" in told


@NEEDS_KUBECTL
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("RESOURCES: [../../private]", "RESOURCES: no field of a kustomization that is known"),
        ("re\u017fources: [../../private]", "no field of a kustomization that is known"),
        ("patches: [{Path: /etc/hostname}]", "patches[0].Path: no field that is known here"),
        ("resources: [a]\nresources: [b]", "the key 'resources' is there twice"),
        ("resources: []\n---\nresources: [b]", "a second document"),
        ("helmCharts: [{name: a, repo: 'https://a.example'}]", "helmCharts: kustomize would fetch"),
        ("generators: ['{kind: HelmChartInflationGenerator}']", "kubectl renders no charts"),
        ("transformers: [inner]", "'inner' is a folder; what it gives is known only"),
        ("resources: [absent.yaml]", "there is no file 'absent.yaml'"),
        ("components: [pod.yaml]", "there is no folder 'pod.yaml'"),
        ("resources: [empty]", "there is no kustomization.yaml in"),
        ("resources: ['']", "an empty name"),
        ("resources: a.yaml", "expected a list"),
        ("resources: [{a: b}]", "expected text"),
        ('resources: ["a\\0b"]', "there is no file"),
        (f"resources: [{'a' * 300}]", "File name too long"),
        ("resources: [*a]", "the alias *a has no anchor"),
        ("- a", "expected keys and values"),
    ],
)
def test_a_kustomization_that_cannot_be_followed_is_refused_with_its_place(
    place: Place, text: str, told: str
) -> None:
    put(place.folder / "site", kustomization_yaml=f"{text}\n", pod_yaml=POD)
    put(place.folder / "site", inner__kustomization_yaml="resources: []\n")
    (place.folder / "site/empty").mkdir()
    assert told in refused(place)


@NEEDS_KUBECTL
def test_all_that_a_kustomization_names_in_its_folder_is_rendered(place: Place) -> None:
    patch = "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {%s: 'yes'}}}"
    put(
        place.folder,
        base__kustomization_yaml="resources: [pod.yaml]\n",
        base__pod_yaml=POD,
        part__kustomization_yaml=(
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
            "configMapGenerator: [{name: c, files: [k=c.txt], envs: [c.env]}]\n"
        ),
        part__c_txt="text\n",
        part__c_env="E=1\n",
        site__one_yaml=patch % "one",
        site__three_yaml=(
            "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: t}\n"
            "target: {kind: Pod}\npath: four.yaml\n"
        ),
        site__four_yaml=patch % "four",
        site__kustomization_yaml=(
            "resources: [linked]\ncomponents: [../part]\n"
            f'patches: [&one {{path: one.yaml}}, {{patch: "{patch % "two"}"}}, *one]\n'
            "transformers: [three.yaml, "
            "'{apiVersion: builtin, kind: PrefixTransformer, metadata: {name: x}, prefix: p-,"
            " fieldSpecs: [{path: metadata/name}]}']\n"
        ),
    )
    (place.folder / "site/linked").symlink_to("../base")
    text = place.text(place.lock("kustomize: site"))
    assert [word for word in ("one", "two", "four") if f"{word}: " in text] == [
        *("one", "two", "four")
    ]
    assert "name: p-a" in text
    assert 'E: "1"' in text
    assert "k: |\n    text" in text


@NEEDS_KUBECTL
def test_a_kustomization_in_a_circle_ends_with_kubectls_words(place: Place) -> None:
    put(
        place.folder,
        site__kustomization_yaml="resources: [../other]\n",
        other__kustomization_yaml="resources: [../site]\n",
    )
    with pytest.raises(InputError, match="cycle detected") as caught:
        place.lock("kustomize: site")
    assert f"'{place.folder}/site'" in str(caught.value)


def test_kubectl_sees_copies_of_what_was_named_and_no_way_to_a_server(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place.folder / "site", kustomization_yaml="resources: [pod.yaml]\n", pod_yaml=POD)
    put(place.folder / "site", other_yaml="secret: yes\n")
    log = place.folder / "seen"
    program = place.folder / "bin/kubectl"
    program.write_text(
        '#!/bin/sh\n[ "$1" = version ] && { echo v1.99.0; exit; }\n'
        f'{{ env; find "$2"; }} >{log}\ncat "$2/pod.yaml"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert "extra.example/a@sha256:" in place.text(place.lock("kustomize: site"))
    seen = log.read_text()
    assert "GIT_ALLOW_PROTOCOL=none" in seen
    assert "HTTPS_PROXY=http://127.0.0.1:0" in seen
    assert "proxy.example" not in seen
    assert "/copy/site/pod.yaml" in seen
    assert "other.yaml" not in seen
    assert str(place.folder / "site") not in seen


@NEEDS_KUBECTL
def test_what_a_kustomization_takes_from_elsewhere_is_told_when_the_recipe_is_checked(
    place: Place,
) -> None:
    put(place.folder / "site", kustomization_yaml="resources: ['https://a.example/a.yaml']\n")
    told = [str(mistake) for mistake in check_recipe(place.recipe("kustomize: site")).mistakes]
    assert len(told) == 1
    assert (
        "site/kustomization.yaml:1:13: resources[0]: 'https://a.example/a.yaml' is not" in told[0]
    )


def test_without_kubectl_it_is_told_what_to_install(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (place.folder / "site").mkdir()
    with pytest.raises(EnvironmentProblem, match="kubectl: not installed") as caught:
        place.lock("kustomize: site")
    assert "kubernetes-client" in (caught.value.hint or "")
    with pytest.raises(InputError, match="no folder"):
        place.lock("kustomize: absent")


# --- files beside the recipe


def test_a_file_beside_the_recipe_is_locked_and_on_the_iso(place: Place) -> None:
    (place.folder / "mine").mkdir()
    (place.folder / "mine/net.yaml").write_text(helm.TEMPLATE.replace("{{ .Values.image }}", "a"))
    found = place.lock("url: 'file:mine/net.yaml'")
    assert "extra.example/a@sha256:" in place.text(found)
    again = find_lock(place.folder / "r.yaml", "amd64")
    assert again is not None
    assert "extra.example/a@sha256:" in place.text(again, store="another")
    (place.folder / "mine/net.yaml").write_text("kind: X\n")
    with pytest.raises(InputError, match=r"mine/net\.yaml: was changed since it was locked"):
        find_lock(place.folder / "r.yaml", "amd64")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file:///etc/passwd", "is a path of one machine"),
        ("file:/etc/passwd", "is a path of one machine"),
        ("file:../x", "leaves the recipe's folder"),
        ("file:a//b", "roundabout"),
        ("file:", "leaves the recipe's folder"),
    ],
)
def test_a_path_that_is_not_beside_the_recipe_is_refused(place: Place, url: str, told: str) -> None:
    with pytest.raises(InputErrors) as caught:
        load_recipe(place.recipe(f"url: '{url}'"), "amd64")
    assert told in "\n".join(map(str, caught.value.mistakes))


def test_a_link_out_of_the_recipes_folder_is_not_followed(place: Place) -> None:
    (place.folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(UpstreamError, match="leads out of the folder"):
        place.lock("url: 'file:link'")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("url: 'file:absent'", "manifests[net].url: there is no"),
        (CHART.replace("1.2.3", "1.2.3, values: absent"), "manifests[net].chart.values: there is"),
        ("kustomize: absent", "manifests[net].kustomize: there is no"),
    ],
)
def test_what_is_not_beside_the_recipe_is_told_when_it_is_checked(
    place: Place, source: str, told: str
) -> None:
    path = place.recipe(source)
    assert [told in str(mistake) for mistake in check_recipe(path).mistakes] == [True]
    (place.folder / "absent").touch()
    assert check_recipe(path).mistakes == []
