"""Upstream's source tree, laid out from Go modules, and the program that is built in it.

Upstream builds in its repository: the main module, its staging modules in a workspace, everything
else vendored. Names of files and the version stamps are those of that place, so a plain build of
the module cannot be identical; this tree is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.run import find_program, run
from isobuilder.trust.rebuild.rules import (
    COMMON,
    PACKAGES,
    STAMPED,
    STAMPS,
    STATIC,
    SUITE,
    TAGS,
    BuildRule,
)
from isobuilder.trust.rebuild.stamps import Stamps

_LISTED = (
    "{{if .Module}}{{.ImportPath}}\t{{.Dir}}\t{{.Module.Path}}\t"
    "{{range .EmbedFiles}}{{.}}\x1f{{end}}{{end}}"
)
_GIT = """\
#!/bin/sh
# Stands for git: a tree made of modules has no repository, and Go asks a program of this name which
# commit it is. It answers with what the released program itself says.
case "$*" in
    "status --porcelain") ;;
    *"log -1 --format=%H:%ct") echo "$RELEASE_COMMIT:$RELEASE_SECONDS" ;;
    "config extensions.objectformat") exit 1 ;;
    *"log --no-decorate -n1 --format=format:%H %ct %D"*)
        printf '%s %s HEAD, tag: %s' "$RELEASE_COMMIT" "$RELEASE_SECONDS" "$RELEASE_TAG"
        ;;
    "tag -l") echo "$RELEASE_TAG" ;;
    *"cat-file"*":go.mod") cat go.mod ;;
    "for-each-ref"*) echo "refs/tags/$RELEASE_TAG" ;;
    "ls-remote"*)
        printf '%s\\tHEAD\\n' "$RELEASE_COMMIT"
        printf '%s\\trefs/tags/%s\\n' "$RELEASE_COMMIT" "$RELEASE_TAG"
        ;;
    "merge-base"*) ;;
    *) echo "git: $* is not known here" >&2; exit 1 ;;
esac
"""


@dataclass(frozen=True, slots=True)
class GoModule:
    """One module that went into a program, as Go's checksum database knows it."""

    path: str
    version: str
    h1: str  # of its content


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Go with caches below a folder, and nothing of the user's settings but where modules are."""

    program: Path
    root: Path
    proxy: str
    sums: str  # the checksum database that modules are compared with
    version: str

    @classmethod
    def find(cls, root: Path, program: Path | None = None) -> Toolchain:
        """Return Go, as it is installed or named.

        Raises:
            EnvironmentProblem: there is none.
        """
        try:
            go = program or find_program("go")
        except EnvironmentProblem as error:
            raise EnvironmentProblem("go: not installed", hint="https://go.dev/dl/") from error
        words = [str(go), "env", "GOPROXY", "GOSUMDB", "GOVERSION"]
        proxy, sums, version = run(words, timeout=60).split("\n")[:3]
        return cls(go, root.absolute(), proxy, sums, version.partition(" ")[0].removeprefix("go"))

    def environment(self, *, network: bool) -> dict[str, str]:
        """Return the variables of a step; without ``network`` what is not cached is missing."""
        return {
            "CGO_ENABLED": "0",
            "GOCACHE": str(self.root / "build"),
            "GOENV": "off",
            "GOFLAGS": "",
            "GOMODCACHE": str(self.root / "modules"),
            "GOPATH": str(self.root / "path"),
            "GOTOOLCHAIN": "local",
            "GOPROXY": self.proxy if network else "off",
            "GOSUMDB": self.sums,
        }


@dataclass(frozen=True, slots=True)
class SourceTree:
    """What one program is compiled from."""

    go: Toolchain
    rule: BuildRule
    stamps: Stamps
    work: Path  # a folder of its own, thrown away afterwards

    @property
    def tree(self) -> Path:
        """Where upstream's repository is, as far as it is needed."""
        return self.work / "tree"

    @property
    def _staged(self) -> str:
        return f"v0.{self.stamps.version.partition('.')[2]}"

    @property
    def _package(self) -> str:
        return f"{self.rule.project}/{self.rule.package}"

    def lay_out(self) -> tuple[GoModule, ...]:
        """Make the tree from the module index and return the modules that are in it.

        Raises:
            EnvironmentProblem: a module cannot be had, or is not the one of the checksum database.
        """
        probe, version = self.work / "probe", f"v{self.stamps.version}"
        probe.mkdir(parents=True)
        main = self._main(probe, version)
        text = (main / "go.mod").read_text("utf-8")
        lines = [f"module isobuilder.rebuild\n\nrequire {self.rule.project} {version}\n"]
        lines += re.findall(r"^(?:go|godebug) .*$", text, re.MULTILINE)
        staging = re.findall(r"^[ \t]*(?:replace )?(\S+) => \./staging/src/\S+", text, re.MULTILINE)
        lines += [f"replace {name} => {name} {self._staged}" for name in staging]
        (probe / "go.mod").write_text("\n".join(lines) + "\n", "utf-8")
        packages = list(self._packages(probe))
        self._copy_all(main, packages)
        # -e: packages that only tests or other programs need are not there.
        env = self.go.environment(network=True)
        run([self.go.program, "work", "vendor", "-e"], cwd=self.tree, env=env, timeout=900)
        return tuple(_modules((probe / "go.sum").read_text("utf-8"), {p[2] for p in packages}))

    def _main(self, probe: Path, version: str) -> Path:
        (probe / "go.mod").write_text("module isobuilder.rebuild\n", "utf-8")
        name = f"{self.rule.project}@{version}"
        env = self.go.environment(network=True)
        run([self.go.program, "mod", "download", name], cwd=probe, env=env, timeout=900)
        return self.go.root / "modules" / name

    def _packages(self, probe: Path) -> Iterator[tuple[str, Path, str, list[str]]]:
        """Give name, folder, module and embedded files of each package that goes in."""
        words = [str(self.go.program), "list", "-mod=mod", "-tags", TAGS, "-deps", "-f", _LISTED]
        env = self.go.environment(network=True) | self._target()
        printed = run([*words, self._package], cwd=probe, env=env, timeout=1800)
        for line in filter(None, printed.split("\n")):
            name, folder, module, embedded = line.split("\t")
            yield name, Path(folder), module, [one for one in embedded.split("\x1f") if one]

    def _copy_all(self, main: Path, packages: Sequence[tuple[str, Path, str, list[str]]]) -> None:
        (self.tree / ".git").mkdir(parents=True)  # where there is one, Go asks git
        for name in ("go.mod", "go.sum", "go.work", "go.work.sum"):
            shutil.copyfile(main / name, self.tree / name)
        workspace = (self.tree / "go.work").read_text("utf-8")
        for _, folder, module, embedded in packages:
            if module == self.rule.project:
                _copy(folder, embedded, main, self.tree)
        for module in re.findall(r"\./staging/src/(\S+)", workspace):
            target = self.tree / "staging/src" / module
            target.mkdir(parents=True)
            own = [one for one in packages if one[2] == module]
            (target / "go.mod").write_text(self._staging_mod(module, bool(own), workspace), "utf-8")
            root = self.go.root / "modules" / f"{module}@{self._staged}"
            for _, folder, _, embedded in own:
                _copy(folder, embedded, root, target)
            if own and (root / "go.sum").is_file():
                shutil.copyfile(root / "go.sum", target / "go.sum")

    def _staging_mod(self, module: str, used: bool, workspace: str) -> str:
        """Return a staging module's go.mod; in the repository they name each other by place."""
        if not used:
            found = re.findall(r"^(?:go|godebug) .*$", workspace, re.MULTILINE)
            return "\n\n".join([f"module {module}", *found]) + "\n"
        number = re.escape(self._staged)
        cache = self.go.root / "modules/cache/download" / module / "@v" / f"{self._staged}.mod"
        text = cache.read_text("utf-8")
        required = rf"^[ \t]*(?:require )?(k8s\.io/\S+) {number}"
        siblings = set(re.findall(required, text, re.MULTILINE))
        text = re.sub(rf"(k8s\.io/\S+) {number}", r"\1 v0.0.0", text)
        if siblings:
            lines = [f"\t{name} => ../{name.partition('/')[2]}\n" for name in sorted(siblings)]
            text += f"\nreplace (\n{''.join(lines)})\n"
        return text

    def _target(self) -> dict[str, str]:
        return {"GOARCH": self.stamps.architecture, "GOOS": "linux"}

    def command(self, into: Path) -> list[str]:
        """Return the words that upstream builds the program with."""
        values = self.stamps.values()
        words = " ".join(
            f"-X '{package}.{key}={values[key]}'" for key in STAMPS for package in STAMPED
        )
        return [
            *(str(self.go.program), "build", *(() if self.rule.cgo else STATIC), *COMMON),
            f"-ldflags=all={words}  -s -w",
            f"-tags={TAGS},",
            *("-o", f"{into}/", self._package),
        ]

    def build(self, chroot: Path | None = None) -> Path:
        """Compile and return the program.

        ``chroot`` is a root file system of ``SUITE`` with ``PACKAGES``, for one with C in it.

        Raises:
            EnvironmentProblem: it does not compile, or needs a root file system and has none.
        """
        into, git = self.work / "out", self.work / "git"
        for folder in (into, git):
            folder.mkdir()
        (git / "git").write_text(_GIT, "utf-8")
        (git / "git").chmod(0o755)
        env = self.go.environment(network=False) | self._target()
        env |= {
            "RELEASE_COMMIT": self.stamps.commit,
            "RELEASE_SECONDS": str(self.stamps.seconds),
            "RELEASE_TAG": f"v{self.stamps.version}",
        }
        command = self.command(into)
        if self.rule.cgo:
            command = self._shut_in(command, chroot, env)
        else:
            env["PATH"] = f"{git}:/usr/local/bin:/usr/bin:/bin"
        run(command, cwd=self.tree, env=env, timeout=7200)
        made = into / self.rule.package.rpartition("/")[2]
        if not made.is_file():
            raise IntegrityError(f"{self._package}: the build left no program")
        return made

    def _shut_in(self, command: list[str], chroot: Path | None, env: dict[str, str]) -> list[str]:
        """Return the command with everything in the chroot where it is outside."""
        if chroot is None:
            raise EnvironmentProblem(
                f"{self._package}: it is built with C, in a root file system of Debian {SUITE}",
                hint=f"as root: mmdebstrap --variant=minbase --include={PACKAGES} {SUITE} DIR, "
                "then --chroot DIR",
            )
        home = run([self.go.program, "env", "GOROOT"], timeout=60).strip()
        env["CGO_ENABLED"] = "1"
        env["HOME"] = "/tmp"  # noqa: S108 - in the chroot
        env["PATH"] = f"{self.work / 'git'}:{home}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        shared = ["/proc", home, str(self.go.root), str(self.work)]
        script = (
            'root="$1"; tree="$2"; shift 2; for folder in $SHARED; do '
            'mkdir -p "$root$folder" && mount --bind "$folder" "$root$folder" || exit 1; done; '
            """exec chroot "$root" sh -c 'cd "$1" && shift && exec "$@"' sh "$tree" "$@\""""
        )
        env["SHARED"] = " ".join(shared)
        where = [str(chroot.absolute()), str(self.tree)]
        return ["unshare", "--mount", "sh", "-c", script, "sh", *where, *command]


def _copy(source: Path, embedded: Sequence[str], root: Path, target: Path) -> None:
    folder = target / source.relative_to(root)
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file() and not file.name.endswith("_test.go"):
            shutil.copyfile(file, folder / file.name)
    for name in embedded:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def _modules(sums: str, used: set[str]) -> Iterator[GoModule]:
    for line in sorted(set(sums.splitlines())):
        path, version, h1 = line.split(" ")
        if path in used and not version.endswith("/go.mod"):
            yield GoModule(path, version, h1)
