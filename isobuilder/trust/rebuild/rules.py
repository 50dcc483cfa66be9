"""How upstream builds each program: packages, flags and layout, as data.

Source: hack/lib/golang.sh and hack/lib/version.sh of Kubernetes. The order of flags and stamps
counts, for Go hashes them into the build's identity.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuildRule:
    """How a project builds one of its programs."""

    project: str  # the main module
    package: str  # below it
    cgo: bool = False  # built with C, in the root file system of ``SUITE``


TAGS = "selinux,notest,grpcnotrace"
STAMPS = ("buildDate", "gitCommit", "gitTreeState", "gitVersion", "gitMajor", "gitMinor")
STAMPED = ("k8s.io/client-go/pkg/version", "k8s.io/component-base/version")
STATIC = ("-installsuffix=static",)
COMMON = ("-trimpath", "-gcflags=")
SUITE = "bullseye"
PACKAGES = "gcc,libc6-dev"
"""The Debian that upstream's image for builds with C is, and what has to be in it."""

KUBERNETES = "k8s.io/kubernetes"

RULES = {
    "kubeadm": BuildRule(KUBERNETES, "cmd/kubeadm"),
    "kubectl": BuildRule(KUBERNETES, "cmd/kubectl"),
    "kubelet": BuildRule(KUBERNETES, "cmd/kubelet", cgo=True),
}
"""Program, by the name of its file in recipes -> how it is built."""
