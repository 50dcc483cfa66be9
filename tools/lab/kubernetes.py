"""Kubernetes 1.20.2 from Debian's source package, and a Go compiler for all that the lab builds.

Debian bookworm's ``kubernetes`` source package holds upstream's 1.20.2 with its vendored
dependencies and three patches by Debian. It is built here the way upstream builds it: in a GOPATH,
static, stripped, with the version stamped into both version packages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.lab.debian import Apt
from tools.lab.place import LabError, fingerprint, once, remove, run

VERSION = "1.20.2"
PROGRAMS = (
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)
PROJECT = "k8s.io/kubernetes"
_GO_VERSION = "1.19"
_COMPILER = (f"golang-{_GO_VERSION}-go", f"golang-{_GO_VERSION}-src")
_REFLECT2 = "golang-github-modern-go-reflect2-dev"
_BUILD = "3"  # count up when the way of building changes


@dataclass(frozen=True, slots=True)
class Go:
    """A Go compiler and its cache."""

    root: Path
    cache: Path

    def build(
        self,
        packages: Sequence[str | Path],
        output: Path,
        *,
        cwd: Path,
        stamps: Mapping[str, str] | None = None,
        gopath: Path | None = None,
        timeout: float = 300,
        architecture: str = "amd64",
    ) -> None:
        """Build static, stripped programs whose bytes do not depend on where they are built."""
        values = [f"-X {name}={value}" for name, value in (stamps or {}).items()]
        flags = ["-trimpath", "-buildvcs=false", f"-ldflags=-s -w -buildid= {' '.join(values)}"]
        run(
            [self.root / "bin/go", "build", *flags, "-o", output, *packages],
            cwd=cwd,
            env=self.environment(gopath) | {"GOARCH": architecture},
            timeout=timeout,
        )

    def environment(self, gopath: Path | None = None) -> dict[str, str]:
        """Return the variables that keep Go away from the network and from the user's settings."""
        return {
            "CGO_ENABLED": "0",
            "GO111MODULE": "off",
            "GOCACHE": str(self.cache),
            "GOENV": "off",
            "GOFLAGS": "",
            "GOPATH": str(gopath or self.cache / "gopath"),
            "GOPROXY": "off",
            "GOROOT": str(self.root),
            "PATH": f"{self.root / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        }


def compiler(lab: Path, apt: Apt) -> Go:
    """Return Debian's Go compiler, unpacked into the lab."""

    def make(tree: Path) -> None:
        apt.unpack(_COMPILER, tree)
        _links_within(tree, tree / "usr")

    tree = once(lab / "go", fingerprint(*_COMPILER, apt.suite), make)
    return Go(tree / f"usr/lib/go-{_GO_VERSION}", lab / "go-cache")


def _links_within(tree: Path, below: Path) -> None:
    """Point absolute links of an unpacked package into the tree it was unpacked to."""
    for link in below.rglob("*"):
        if link.is_symlink() and link.readlink().is_absolute():
            inside = tree / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(os.path.relpath(inside, link.parent))


def kubernetes(lab: Path, apt: Apt) -> Path:
    """Return the directory that holds the seven programs of Kubernetes 1.20.2."""

    def make(target: Path) -> None:
        # Its own cache: a gigabyte that nothing else needs afterwards.
        go = Go(compiler(lab, apt).root, target / ".cache")
        source = _source(apt, target / ".go")
        _newer_reflect2(apt, target, source)
        _openapi(go, source, target / ".go")
        packages = [f"./cmd/{program}" for program in PROGRAMS]
        go.build(
            packages, target, cwd=source, stamps=_stamps(), gopath=target / ".go", timeout=3000
        )
        for leftover in (".cache", ".go", ".reflect2", "openapi-gen"):
            if (target / leftover).is_file():
                (target / leftover).unlink()
            remove(target / leftover)
        prove(target)

    return once(lab / "kubernetes", fingerprint(VERSION, _BUILD, _GO_VERSION, apt.suite), make)


def _source(apt: Apt, gopath: Path) -> Path:
    source = gopath / "src" / PROJECT
    source.parent.mkdir(parents=True)
    description = apt.download_source("kubernetes", gopath / "download")
    if f"really{VERSION}-" not in description.name and f"_{VERSION}-" not in description.name:
        raise LabError(f"{description.name}: not Kubernetes {VERSION}")
    # apt has checked the signature's chain from the mirror's release file to each of these files.
    run(["dpkg-source", "--no-check", "-x", description, source])
    return source


def _newer_reflect2(apt: Apt, target: Path, source: Path) -> None:
    """Replace the vendored reflect2 1.0.1, with which Go 1.18 and later write to wrong memory.

    With 1.0.1 every program panics when it writes a map as JSON.
    """
    vendored = source / "vendor/github.com/modern-go/reflect2"
    apt.unpack([_REFLECT2], target / ".reflect2")
    newer = target / ".reflect2/usr/share/gocode/src/github.com/modern-go/reflect2"
    for old in [*vendored.glob("*.go"), *vendored.glob("*.s")]:
        old.unlink()
    for new in [*newer.glob("*.go"), *newer.glob("*.s")]:
        (vendored / new.name).write_bytes(new.read_bytes())


def _openapi(go: Go, source: Path, gopath: Path) -> None:
    """Generate the API server's OpenAPI definitions, which the source package leaves out.

    Raises:
        LabError: the generator's report differs from the one that upstream keeps in its source,
            so the generated file is not upstream's either.
    """
    generator = gopath / "openapi-gen"
    go.build(
        [f"{PROJECT}/vendor/k8s.io/kube-openapi/cmd/openapi-gen"],
        generator,
        cwd=source,
        gopath=gopath,
    )
    report = gopath / "violations"
    run(
        [
            generator,
            "--logtostderr",
            f"--input-dirs={','.join(f'{PROJECT}/{folder}' for folder in _tagged(source))}",
            f"--output-package={PROJECT}/pkg/generated/openapi",
            "--output-file-base=zz_generated.openapi",
            "--go-header-file=vendor/k8s.io/code-generator/hack/boilerplate.go.txt",
            f"--report-filename={report}",
            f"--output-base={gopath / 'src'}",
        ],
        cwd=source,
        env=go.environment(gopath),
    )
    if report.read_bytes() != (source / "api/api-rules/violation_exceptions.list").read_bytes():
        raise LabError("openapi-gen: its report differs from api-rules/violation_exceptions.list")


def _tagged(source: Path) -> list[str]:
    """Return the packages that ask for OpenAPI definitions, as upstream's makefile finds them."""
    return sorted(set(_tagged_packages(source)))


def _tagged_packages(source: Path) -> Iterator[str]:
    staging = "staging/src/"
    for top in ("pkg", "cmd", "plugin", "staging/src/k8s.io"):
        for path in (source / top).rglob("*.go"):
            folder = path.parent.relative_to(source).as_posix()
            foreign = folder.startswith(
                (f"{staging}k8s.io/code-generator", f"{staging}k8s.io/sample-apiserver")
            )
            if foreign or "testdata" in folder or path.name.endswith("_test.go"):
                continue
            if path.name.startswith("zz_generated") or path.is_symlink():
                continue
            if b"+k8s:openapi-gen=" in path.read_bytes():
                yield f"vendor/{folder.removeprefix(staging)}" if staging in folder else folder


def _stamps() -> dict[str, str]:
    major, minor, _ = VERSION.split(".")
    values = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    return {
        f"{PROJECT}/vendor/k8s.io/{package}.{name}": value
        for package in ("client-go/pkg/version", "component-base/version")
        for name, value in values.items()
    }


def prove(folder: Path) -> None:
    """Run the fresh programs: they start, know their version, and can write a map as JSON.

    Raises:
        LabError: one of them does not.
    """
    said = run([folder / "kubeadm", "version", "-o", "short"]).strip()
    if said != f"v{VERSION}":
        raise LabError(f"kubeadm version: {said}, expected v{VERSION}")
    for program in (*PROGRAMS[3:], "kubelet"):
        said = run([folder / program, "--version"]).strip()
        if said != f"Kubernetes v{VERSION}":
            raise LabError(f"{program} --version: {said}, expected Kubernetes v{VERSION}")
    printed = run(
        [
            folder / "kubeadm",
            "config",
            "print",
            "init-defaults",
            "--component-configs",
            "KubeletConfiguration",
        ]
    )
    if "kind: KubeletConfiguration" not in printed:
        raise LabError("kubeadm config print init-defaults: no KubeletConfiguration in its output")
