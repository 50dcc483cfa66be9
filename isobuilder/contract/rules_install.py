"""Rules of sections A.3, A.6, A.8 and A.10 of the node contract: programs and units."""

from __future__ import annotations

import re
from collections.abc import Iterator

from isobuilder.contract.rule import EVERYWHERE, Problem, Rule, rule
from isobuilder.contract.view import PROGRAMS, NodeView
from isobuilder.errors import IntegrityError
from isobuilder.formats.sums import sum_line
from isobuilder.medium import Packed
from isobuilder.model.architecture import ETCD_ARCHIVE
from isobuilder.model.profile import CNI_PLUGINS, CRICTL

_CNI, _, _CNI_GLOB = CNI_PLUGINS.partition("/")
_CRICTL, _, _CRICTL_GLOB = CRICTL.partition("/")
_BUILD_AGAIN = "fetch it again from its release, then build the ISO again"


def _one(disc: NodeView, folder: str, glob: str) -> Iterator[Problem]:
    names = disc.within(folder, glob)
    if len(names) != 1:
        found = ", ".join(names) if names else "none"
        yield Problem(f"{folder}/{glob}", f"expected exactly one file, found {found}", "keep one")


def _only(disc: NodeView, folder: str, glob: str) -> str | None:
    names = disc.within(folder, glob)
    return f"{folder}/{names[0]}" if len(names) == 1 else None


def _programs_at_the_top(disc: NodeView, path: str | None, wanted: str) -> Iterator[Problem]:
    if path is None:
        return
    contents = disc.packed(path)
    if isinstance(contents, IntegrityError):
        yield Problem(path, f"cannot be unpacked: {contents}", _BUILD_AGAIN)
        return
    found = next((file for file in contents.files if file.name == wanted), None)
    if found is None and contents.whole:
        deeper = [f.name for f in contents.files if f.name.endswith(f"/{wanted}")]
        where = f"it is at {deeper[0]}" if deeper else "it is not there at all"
        yield Problem(path, f"expected {wanted} at the top of the archive, {where}", _BUILD_AGAIN)
    elif found is not None and (found.architecture is None or not found.member.mode & 0o111):
        what = "is not a Linux program" if found.architecture is None else "may not be executed"
        yield Problem(path, f"{wanted} in it {what}", _BUILD_AGAIN)


@rule("A.3.cni-glob")
def cni_glob(disc: NodeView) -> Iterator[Problem]:
    """Exactly one archive of CNI plugins.

    The script gives the glob to `tar -f`: with no match it fails, and with two the second
    name is taken for a member of the first archive.
    """
    yield from _one(disc, _CNI, _CNI_GLOB)


@rule("A.3.cni-archive")
def cni_archive(disc: NodeView) -> Iterator[Problem]:
    """CNI plugins lie at the top of their archive.

    The archive is unpacked into /opt/cni/bin, and containerd looks for plugins only there;
    without `loopback` no pod gets a network.
    """
    yield from _programs_at_the_top(disc, _only(disc, _CNI, _CNI_GLOB), "loopback")


@rule("A.3.crictl-glob")
def crictl_glob(disc: NodeView) -> Iterator[Problem]:
    """Exactly one archive of crictl.

    The script gives the glob to `tar -f`, as with the CNI plugins.
    """
    yield from _one(disc, _CRICTL, _CRICTL_GLOB)


@rule("A.3.crictl-archive")
def crictl_archive(disc: NodeView) -> Iterator[Problem]:
    """The program crictl lies at the top of its archive.

    The archive is unpacked into /opt/bin, which is on the PATH; kubeadm wants crictl there.
    """
    yield from _programs_at_the_top(disc, _only(disc, _CRICTL, _CRICTL_GLOB), "crictl")


@rule("A.3.sums-missing", clouds=("mold",))
def sums_missing(disc: NodeView) -> Iterator[Problem]:
    """manifest.json comes with SHA256SUMS.

    If manifest.json is there, nodes run `sha256sum -c SHA256SUMS` and stop when it fails.
    """
    if "manifest.json" in disc.files and "SHA256SUMS" not in disc.files:
        yield Problem("SHA256SUMS", "missing beside manifest.json", "write both or neither")


@rule(
    "A.3.sums-unused",
    severity="warning",
    clouds=("mold",),
)
def sums_unused(disc: NodeView) -> Iterator[Problem]:
    """SHA256SUMS comes with manifest.json.

    Without manifest.json nodes do not check SHA256SUMS at all.
    """
    if "SHA256SUMS" in disc.files and "manifest.json" not in disc.files:
        yield Problem("SHA256SUMS", "no node looks at it", "write both or neither")


@rule("A.3.sums-syntax", clouds=("mold",))
def sums_syntax(disc: NodeView) -> Iterator[Problem]:
    """SHA256SUMS reads as sha256sum writes it.

    `sha256sum -c` skips lines it does not understand, so what they name goes unchecked, looks
    for other names if lines end in CR LF, and leaves the disc for absolute or climbing paths.
    """
    if "manifest.json" not in disc.files or "SHA256SUMS" not in disc.files:
        return
    lines = disc.text("SHA256SUMS").split("\n")
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        read = sum_line(line)
        path = read.path if read else ""
        if read is None or not read.is_sha256:
            fact = "not 64 hex digits, two spaces and a path"
        elif line.endswith("\r"):
            fact = "ends in CR LF"
        elif path.startswith("/") or ".." in path.split("/"):
            fact = f"the path {path!r} leaves the disc"
        elif path == "SHA256SUMS":
            fact = "SHA256SUMS lists itself, which no digest can satisfy"
        elif path in seen:
            fact = f"{path!r} is listed twice"
        else:
            seen.add(path)
            continue
        yield Problem(f"SHA256SUMS:{number}", fact, "write it with sha256sum")
        return  # a file of another kind would give a problem for each of its lines
    if not seen:
        yield Problem("SHA256SUMS", "lists nothing, which sha256sum -c refuses", "list every file")


@rule("A.3.program-missing")
def program_missing(disc: NodeView) -> Iterator[Problem]:
    """The programs kubeadm, kubelet and kubectl are there.

    They are copied to /opt/bin; a missing one ends the installation.
    """
    for name in PROGRAMS:
        if f"k8s/{name}" not in disc.files:
            yield Problem(f"k8s/{name}", "missing", f"add {name} to the recipe's files")


@rule("A.3.program")
def program(disc: NodeView) -> Iterator[Problem]:
    """The programs kubeadm, kubelet and kubectl are Linux programs.

    An error page that was saved under a program's name (apache/cloudstack#10295) is copied
    and made executable all the same, and fails only when kubeadm or the kubelet is started.
    """
    for name in PROGRAMS:
        path = f"k8s/{name}"
        if path in disc.files and isinstance(facts := disc.binary(path), IntegrityError):
            yield Problem(path, str(facts), _BUILD_AGAIN)


@rule("A.3.kubelet-service", actions=("create",))
def kubelet_service(disc: NodeView) -> Iterator[Problem]:
    """kubelet.service runs the kubelet.

    It becomes /etc/systemd/system/kubelet.service, with /usr/bin replaced by /opt/bin.
    """
    path = "kubelet.service"
    if path not in disc.files:
        yield Problem(path, "missing", "add it to the recipe's render entries")
        return
    commands = _values(disc.text(path), "ExecStart")
    if len(commands) != 1 or commands[0].split()[0] not in _KUBELETS:
        found = commands or "none"
        yield Problem(path, f"expected ExecStart=/opt/bin/kubelet, found {found}", _USE_OURS)


@rule("A.3.kubeadm-drop-in", actions=("create",))
def kubeadm_drop_in(disc: NodeView) -> Iterator[Problem]:
    """The drop-in 10-kubeadm.conf starts the kubelet for kubeadm.

    It becomes kubelet.service.d/10-kubeadm.conf. The kubelet must get the configuration
    kubeadm writes, and last the extra arguments from /etc/default/kubelet, where the node
    puts the cgroup driver and the external cloud provider.
    """
    path = "10-kubeadm.conf"
    if path not in disc.files:
        yield Problem(path, "missing", "add it to the recipe's render entries")
        return
    text = disc.text(path)
    commands = _values(text, "ExecStart", empty=True)
    command = commands[-1].split() if commands else []
    environment = _values(text, "EnvironmentFile")
    if len(commands) != 2 or commands[0] or not command or command[0] not in _KUBELETS:
        fact = "expected an empty ExecStart= and one that runs /opt/bin/kubelet"
    elif command[-1] != "$KUBELET_EXTRA_ARGS":
        fact = "expected $KUBELET_EXTRA_ARGS as the last argument of the kubelet"
    elif "$KUBELET_KUBEADM_ARGS" not in command:
        fact = "expected $KUBELET_KUBEADM_ARGS among the arguments of the kubelet"
    elif not {"-/etc/default/kubelet", "-/var/lib/kubelet/kubeadm-flags.env"} <= set(environment):
        fact = "expected EnvironmentFile= for kubeadm-flags.env and /etc/default/kubelet, each -"
    elif missing := [part for part in _SETTINGS if part not in text]:
        fact = f"expected {missing[0]}"
    else:
        return
    yield Problem(path, fact, _USE_OURS)


_KUBELETS = {"/opt/bin/kubelet", "/usr/bin/kubelet"}
_SETTINGS = (
    "--config=/var/lib/kubelet/config.yaml",
    "--kubeconfig=/etc/kubernetes/kubelet.conf",
    "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
)
_USE_OURS = "use the template of that name in the recipe's render entries"


def _values(unit: str, key: str, *, empty: bool = False) -> list[str]:
    """Return the values of a key of a unit file, in order."""
    joined = unit.replace("\\\n", " ")
    lines = (line.strip() for line in joined.splitlines())
    values = [line.partition("=")[2].strip() for line in lines if line.startswith(f"{key}=")]
    return [value for value in values if value or empty]


@rule("A.6.kubeadm-version")
def kubeadm_version(disc: NodeView) -> Iterator[Problem]:
    """The program kubeadm is of the registered version.

    `kubeadm init` and `kubeadm upgrade apply` get the version the ISO was registered with; a
    kubeadm of another version looks for images that are not on the disc.
    """
    said = disc.manifest.get("kubernetes_version")
    if disc.registered is not None and said is not None and said != str(disc.registered):
        fact = f"Kubernetes {said}, registered is {disc.registered}"
        yield Problem("manifest.json", fact, "register the version the ISO holds")
    found = _version(disc, "kubeadm")
    if found is not None and disc.version is not None and found != str(disc.version):
        fact = f"kubeadm {found}, expected {disc.version}"
        yield Problem("k8s/kubeadm", fact, _BUILD_AGAIN)


@rule("A.6.program-versions")
def program_versions(disc: NodeView) -> Iterator[Problem]:
    """The kubelet and kubectl are of kubeadm's version.

    kubeadm refuses a kubelet that is newer than itself, and an older one is not what the
    registered version promises.
    """
    for name in ("kubelet", "kubectl"):
        found = _version(disc, name)
        if found is not None and disc.version is not None and found != str(disc.version):
            yield Problem(f"k8s/{name}", f"{name} {found}, expected {disc.version}", _BUILD_AGAIN)


@rule("A.6.version-unknown", severity="warning")
def version_unknown(disc: NodeView) -> Iterator[Problem]:
    """Programs tell their version.

    A program that carries no version of Kubernetes cannot be compared with what is
    registered.
    """
    for name in PROGRAMS:
        path = f"k8s/{name}"
        facts = disc.binary(path) if path in disc.files else None
        if facts is None or isinstance(facts, IntegrityError):
            continue
        if facts.kubernetes_version is None:
            fact = "carries no version of Kubernetes, so it cannot be checked"
            yield Problem(path, fact, "use the program that Kubernetes released")


def _version(disc: NodeView, name: str) -> str | None:
    path = f"k8s/{name}"
    facts = disc.binary(path) if path in disc.files else None
    if facts is None or isinstance(facts, IntegrityError):
        return None
    return facts.kubernetes_version


@rule(
    "A.8.etcd-missing",
    severity="warning",
    actions=("create",),
    roles=("etcd",),
)
def etcd_missing(disc: NodeView) -> Iterator[Problem]:
    """The archive for separate etcd nodes is there.

    Clusters with etcd nodes of their own need it, under this name on arm64 too; others do
    not.
    """
    if ETCD_ARCHIVE not in disc.files:
        fact = "missing: clusters with separate etcd nodes cannot be made"
        yield Problem(ETCD_ARCHIVE, fact, "add etcd to the recipe's files")


@rule(
    "A.8.etcd-archive",
    actions=("create",),
    roles=("etcd",),
)
def etcd_archive(disc: NodeView) -> Iterator[Problem]:
    """The programs of etcd lie in one folder of their archive.

    It is unpacked in /opt/bin and `etcd*/etcd*` is moved up from there.
    """
    if ETCD_ARCHIVE not in disc.files:
        return
    contents = disc.packed(ETCD_ARCHIVE)
    if isinstance(contents, IntegrityError):
        yield Problem(ETCD_ARCHIVE, f"cannot be unpacked: {contents}", _BUILD_AGAIN)
        return
    for name in ("etcd", "etcdctl"):
        fits = [f for f in contents.files if re.fullmatch(rf"etcd[^/]*/{name}", f.name)]
        if (not fits and contents.whole) or (fits and fits[0].architecture is None):
            fact = f"expected the program {name} in a top folder etcd-*"
            yield Problem(ETCD_ARCHIVE, fact, "use the archive as the etcd project releases it")
            return


@rule("A.10.architecture", roles=(*EVERYWHERE, "etcd"))
def architecture(disc: NodeView) -> Iterator[Problem]:
    """All programs are of one architecture.

    An ISO serves one architecture; which, is registered with it. A program of another one
    ends with `exec format error`.
    """
    wanted = disc.architecture
    if wanted is None:
        return
    for name in PROGRAMS:
        path = f"k8s/{name}"
        facts = disc.binary(path) if path in disc.files else None
        if facts is None or isinstance(facts, IntegrityError):
            continue
        if facts.architecture != wanted:
            fact = f"a program for {facts.architecture}, expected {wanted}"
            yield Problem(path, fact, _BUILD_AGAIN)
    packed = (_only(disc, _CNI, _CNI_GLOB), _only(disc, _CRICTL, _CRICTL_GLOB), ETCD_ARCHIVE)
    for archive in packed:
        if archive is None or archive not in disc.files:
            continue
        contents = disc.packed(archive)
        if isinstance(contents, IntegrityError):
            continue
        other = next((f for f in contents.files if _other(f, wanted)), None)
        if other is not None:
            fact = f"{other.name} in it is for {other.architecture}, expected {wanted}"
            yield Problem(archive, fact, _BUILD_AGAIN)


def _other(file: Packed, wanted: str) -> bool:
    return file.architecture is not None and file.architecture != wanted


RULES: tuple[Rule, ...] = (
    cni_glob,
    cni_archive,
    crictl_glob,
    crictl_archive,
    sums_missing,
    sums_unused,
    sums_syntax,
    program_missing,
    program,
    kubelet_service,
    kubeadm_drop_in,
    kubeadm_version,
    program_versions,
    version_unknown,
    etcd_missing,
    etcd_archive,
    architecture,
)
