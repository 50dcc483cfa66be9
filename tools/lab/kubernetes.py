"""Kubernetes from its own modules, laid out and built as upstream builds a release.

``k8s.io/kubernetes`` is a Go module like any other. Built as a dependency its file names carry
versions, so every package of the next patch would be new, and no byte would be upstream's. Laid out
as upstream's repository is (the main module, its staging modules in a workspace, everything else
vendored) the next patch compiles in a quarter of the time, and with the release's own stamps
kubeadm and kubectl come out bit for bit as upstream released them.

Sources: hack/lib/golang.sh and hack/lib/version.sh of Kubernetes for flags and stamps.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.lab import golang
from tools.lab.golang import MODULES, Go
from tools.lab.place import HERE, LabError, fingerprint, once, remove, run

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
_STAMPS = ("buildDate", "gitCommit", "gitTreeState", "gitVersion", "gitMajor", "gitMinor")
_TAGS = "selinux,notest,grpcnotrace"


@dataclass(frozen=True, slots=True)
class Release:
    """One release of Kubernetes, as far as a build needs to know it."""

    version: str
    commit: str = ""  # as the released programs say; unknown where it cannot be had
    committed: str = ""  # RFC 3339
    built: Mapping[str, str] = field(default_factory=dict)  # program -> its buildDate
    compiler: str = ""  # upstream's .go-version

    @property
    def modules(self) -> Path:
        """The folder with go.mod and go.sum."""
        return MODULES / f"kubernetes-{self.version}"

    def stamps(self, program: str) -> dict[str, str]:
        """Return the values that hack/lib/version.sh stamps into a program."""
        major, minor, _ = self.version.split(".")
        values = {"gitVersion": f"v{self.version}", "gitMajor": major, "gitMinor": minor}
        if self.commit:
            date = self.built.get(program, self.committed)
            values |= {"gitCommit": self.commit, "gitTreeState": "clean", "buildDate": date}
        return values


CURRENT = Release(
    "1.37.1",
    commit="f78e722310e50bcaca9276be22276d9e91d91308",
    committed="2026-09-23T17:06:22Z",
    built={
        "kubectl": "2026-09-23T17:10:04Z",
        "kubeadm": "2026-09-23T17:09:17Z",
        "kubelet": "2026-09-23T17:09:17Z",
    },
    compiler="1.26.8",
)
NEXT = Release("1.37.2")
OLDER = Release("1.36.5")
RELEASES = {release.version: release for release in (CURRENT, NEXT, OLDER)}


def kubernetes(lab: Path, go: Go, release: Release, *, architecture: str = "amd64") -> Path:
    """Return the folder that holds the seven programs of a release."""

    def make(target: Path) -> None:
        tree = go.root / f"tree-{release.version}-{architecture}"
        lay_out(go, release, tree, PROGRAMS, architecture)
        # Programs with other stamps are other link steps; what they share is compiled once.
        for date in dict.fromkeys(release.stamps(program).get("buildDate") for program in PROGRAMS):
            same = [p for p in PROGRAMS if release.stamps(p).get("buildDate") == date]
            build(go, release, tree, target, same, architecture)
        remove(tree)
        if architecture == "amd64":
            prove(target, release)

    suffix = "" if architecture == "amd64" else f"-{architecture}"
    mark = fingerprint(
        golang.version(), repr(release), release.modules, HERE / "kubernetes.py", HERE / "git.sh"
    )
    return once(lab / "programs" / f"kubernetes-{release.version}{suffix}", mark, make)


def lay_out(
    go: Go, release: Release, tree: Path, programs: Sequence[str], architecture: str
) -> None:
    """Make upstream's source tree of what ``programs`` are compiled from.

    Raises:
        LabError: a module cannot be had, or is not the one of go.sum.
    """
    remove(tree)
    tree.mkdir(parents=True)
    (tree / ".git").mkdir()  # where Go asks git, it stamps what git says
    main = go.root / "modules" / f"{PROJECT}@v{release.version}"
    packages = list(_packages(go, release, programs, architecture))
    for name in ("go.mod", "go.sum", "go.work", "go.work.sum"):
        shutil.copyfile(main / name, tree / name)
    workspace = (tree / "go.work").read_text(encoding="utf-8")
    staging = re.findall(r"\./staging/src/(\S+)", workspace)
    for package in packages:
        if package["Module"]["Path"] == PROJECT:
            _copy(package, main, tree)
    for module in staging:
        own = [package for package in packages if package["Module"]["Path"] == module]
        _staging_module(go, release, module, own, tree / "staging/src" / module, workspace)
    # -e: packages that only tests or other programs need are not there. The network is for go.mod
    # files of modules of which nothing is compiled; upstream's go.sum has their sums.
    vendor = go.environment(network=True) | {"GOFLAGS": ""}
    run(["go", "work", "vendor", "-e"], cwd=tree, env=vendor, timeout=600)


def build(
    go: Go,
    release: Release,
    tree: Path,
    into: Path,
    programs: Sequence[str],
    architecture: str = "amd64",
) -> None:
    """Build programs that share one set of stamps.

    Raises:
        LabError: the build failed.
    """
    run(
        build_command(release, into, programs),
        cwd=tree,
        env=environment(go, release) | {"GOARCH": architecture},
        timeout=5400,
    )


def build_command(
    release: Release, into: Path, programs: Sequence[str], *, static: bool = True
) -> list[str]:
    """Return the words that hack/lib/golang.sh uses, for programs with or without C in them.

    Their order counts, stamps included: Go hashes them into the build's identity.
    """
    stamps = release.stamps(programs[0])
    values = " ".join(
        f"-X '{package}.{key}={stamps[key]}'"
        for key in _STAMPS
        if key in stamps
        for package in ("k8s.io/client-go/pkg/version", "k8s.io/component-base/version")
    )
    return [
        *("go", "build", *(["-installsuffix=static"] if static else []), "-trimpath", "-gcflags="),
        f"-ldflags=all={values}  -s -w",
        f"-tags={_TAGS},",
        *("-o", f"{into}/"),
        *(f"{PROJECT}/cmd/{program}" for program in programs),
    ]


def prove(folder: Path, release: Release) -> None:
    """Run the fresh programs: they start and know their version.

    Raises:
        LabError: one of them does not.
    """
    said = run([folder / "kubeadm", "version", "-o", "short"]).strip()
    if said != f"v{release.version}":
        raise LabError(f"kubeadm version: {said}, expected v{release.version}")
    for program in (*PROGRAMS[3:], "kubelet"):
        said = run([folder / program, "--version"]).strip()
        if said != f"Kubernetes v{release.version}":
            raise LabError(f"{program} --version: {said}, expected v{release.version}")


def environment(go: Go, release: Release) -> dict[str, str]:
    """Return the variables of a build; Go finds the release's commit, because it asks ``git``."""
    variables = go.environment() | {"GOFLAGS": ""}
    if not release.commit:
        return variables | {"GOFLAGS": "-buildvcs=false"}
    folder = go.root / "git"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "git"
    shutil.copyfile(HERE / "git.sh", program)
    program.chmod(0o755)
    committed = datetime.fromisoformat(release.committed).astimezone(UTC)
    return variables | {
        "PATH": f"{folder}:{golang.search_path()}",
        "RELEASE_COMMIT": release.commit,
        "RELEASE_SECONDS": str(int(committed.timestamp())),
        "RELEASE_TAG": f"v{release.version}",
    }


def _packages(
    go: Go, release: Release, programs: Sequence[str], architecture: str
) -> Iterator[dict[str, Any]]:
    """Yield what ``go list`` knows of each package of a module that goes into ``programs``."""
    printed = run(
        [
            *("go", "list", "-mod=readonly", "-tags", _TAGS, "-deps"),
            "-json=ImportPath,Dir,Module,EmbedFiles",
            *(f"{PROJECT}/cmd/{program}" for program in programs),
        ],
        cwd=release.modules,
        env=go.environment(network=True) | {"GOARCH": architecture},
        timeout=1800,
    )
    decoder, at = json.JSONDecoder(), 0
    while at < len(printed):
        package, at = decoder.raw_decode(printed, at)
        while at < len(printed) and printed[at].isspace():
            at += 1
        if "Module" in package:
            yield package


def _copy(package: Mapping[str, Any], root: Path, target: Path) -> None:
    source = Path(package["Dir"])
    folder = target / source.relative_to(root)
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file() and not file.name.endswith("_test.go"):
            shutil.copyfile(file, folder / file.name)
    for name in package.get("EmbedFiles") or ():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def _staging_module(
    go: Go,
    release: Release,
    module: str,
    packages: Sequence[Mapping[str, Any]],
    target: Path,
    workspace: str,
) -> None:
    """Lay out one module of the workspace; one of which nothing is compiled only has its place."""
    target.mkdir(parents=True)
    number = f"v0.{release.version.partition('.')[2]}"
    if not packages:
        language = re.search(r"^go .*$", workspace, re.MULTILINE)
        debug = re.search(r"^godebug .*$", workspace, re.MULTILINE)
        lines = [f"module {module}", *(match[0] for match in (language, debug) if match)]
        (target / "go.mod").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
        return
    root = go.root / "modules" / f"{module}@{number}"
    for package in packages:
        _copy(package, root, target)
    published = go.root / "modules/cache/download" / module / "@v" / f"{number}.mod"
    text = published.read_text(encoding="utf-8")
    # In the repository the staging modules name each other by place and not by version.
    siblings = set(re.findall(rf"^\s*(?:require )?(k8s\.io/\S+) {re.escape(number)}", text, re.M))
    text = re.sub(rf"(k8s\.io/\S+) {re.escape(number)}", r"\1 v0.0.0", text)
    if siblings:
        lines = [f"\t{name} => ../{name.partition('/')[2]}\n" for name in sorted(siblings)]
        text += f"\nreplace (\n{''.join(lines)})\n"
    (target / "go.mod").write_text(text, encoding="utf-8")
    if (root / "go.sum").is_file():
        shutil.copyfile(root / "go.sum", target / "go.sum")
