"""The fields of KubeletConfiguration: since when each is there, and what it takes.

Source: ``config/v1beta1/types.go`` of k8s.io/kubelet and ``pkg/kubelet/apis/config/validation`` of
Kubernetes. kubeadm only warns of what it does not know, and the kubelet then does not start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from isobuilder.documents.mistakes import nearest
from isobuilder.formats.kube import KubeVersion

_OURS = {
    "apiVersion": "it is written already",
    "kind": "it is written already",
    "cgroupDriver": "containerd of the ISO is set up for systemd",
    "clusterDomain": "set networks.domain",
    "staticPodPath": "kubeadm sets it",
}
"""Fields of KubeletConfiguration that are not for others, and why."""

_FIELDS_SINCE = {
    20: """
        address allowedUnsafeSysctls authentication authorization cgroupRoot cgroupsPerQOS
        clusterDNS configMapAndSecretChangeDetectionStrategy containerLogMaxFiles
        containerLogMaxSize contentType cpuCFSQuota cpuCFSQuotaPeriod cpuManagerPolicy
        cpuManagerReconcilePeriod enableContentionProfiling enableControllerAttachDetach
        enableDebuggingHandlers enableServer enableSystemLogHandler enforceNodeAllocatable
        eventBurst eventRecordQPS evictionHard evictionMaxPodGracePeriod evictionMinimumReclaim
        evictionPressureTransitionPeriod evictionSoft evictionSoftGracePeriod failSwapOn
        featureGates fileCheckFrequency hairpinMode healthzBindAddress healthzPort
        httpCheckFrequency imageGCHighThresholdPercent imageGCLowThresholdPercent
        imageMinimumGCAge iptablesDropBit iptablesMasqueradeBit kernelMemcgNotification
        kubeAPIBurst kubeAPIQPS kubeReserved kubeReservedCgroup kubeletCgroups logging
        makeIPTablesUtilChains maxOpenFiles maxPods nodeLeaseDurationSeconds nodeStatusMaxImages
        nodeStatusReportFrequency nodeStatusUpdateFrequency oomScoreAdj podCIDR podPidsLimit
        podsPerCore port protectKernelDefaults providerID qosReserved readOnlyPort registryBurst
        registryPullQPS reservedSystemCPUs resolvConf rotateCertificates runOnce
        runtimeRequestTimeout serializeImagePulls serverTLSBootstrap showHiddenMetricsForVersion
        shutdownGracePeriod shutdownGracePeriodCriticalPods staticPodURL staticPodURLHeader
        streamingConnectionIdleTimeout syncFrequency systemCgroups systemReserved
        systemReservedCgroup tlsCertFile tlsCipherSuites tlsMinVersion tlsPrivateKeyFile
        topologyManagerPolicy topologyManagerScope volumePluginDir volumeStatsAggPeriod
        """,
    21: "enableDebugFlagsHandler enableProfilingHandler memoryManagerPolicy reservedMemory",
    22: "cpuManagerPolicyOptions memorySwap memoryThrottlingFactor seccompDefault",
    23: "registerNode registerWithTaints shutdownGracePeriodByPodPriority",
    25: "localStorageCapacityIsolation tracing",
    26: "topologyManagerPolicyOptions",
    27: "containerRuntimeEndpoint enableSystemLogQuery imageServiceEndpoint maxParallelImagePulls",
    29: "imageMaximumGCAge",
    30: "containerLogMaxWorkers containerLogMonitorInterval podLogsDir",
    31: "failCgroupV1",
    32: "crashLoopBackOff singleProcessOOMKill",
    33: "imagePullCredentialsVerificationPolicy mergeDefaultEvictionSettings "
    "preloadedImagesVerificationAllowlist userNamespaces",
    36: "memoryReservationPolicy tlsCurvePreferences",
    37: "defaultPodSysctls",
}
"""Fields by the minor they came with, 20 for older ones; none has gone, 0.20.0 to 0.37.1."""
_SINCE = {name: minor for minor, names in _FIELDS_SINCE.items() for name in names.split()}

_MOST = 2**31 - 1
_BETWEEN = {
    (0, _MOST): """
        eventBurst eventRecordQPS evictionMaxPodGracePeriod kubeAPIBurst kubeAPIQPS maxPods
        podsPerCore registryBurst registryPullQPS
        """,
    (1, _MOST): "containerLogMaxWorkers maxParallelImagePulls nodeLeaseDurationSeconds",
    (2, _MOST): "containerLogMaxFiles",
    (-1, _MOST): "nodeStatusMaxImages",
    (0, 2**63 - 1): "maxOpenFiles",
    (-(2**63), 2**63 - 1): "podPidsLimit",
    (0, 100): "imageGCHighThresholdPercent imageGCLowThresholdPercent",
    (0, 31): "iptablesDropBit iptablesMasqueradeBit",
    (-1000, 1000): "oomScoreAdj",
    (0, 65535): "healthzPort readOnlyPort",
    (1, 65535): "port",
}
"""Fields that take a whole number, by the least and the greatest."""
_NUMBERS = {name: ends for ends, names in _BETWEEN.items() for name in names.split()}

_KINDS = {
    "fraction": "memoryThrottlingFactor",
    "switch": """
        cgroupsPerQOS cpuCFSQuota enableContentionProfiling enableControllerAttachDetach
        enableDebugFlagsHandler enableDebuggingHandlers enableProfilingHandler enableServer
        enableSystemLogHandler enableSystemLogQuery failCgroupV1 failSwapOn
        kernelMemcgNotification localStorageCapacityIsolation makeIPTablesUtilChains
        mergeDefaultEvictionSettings protectKernelDefaults registerNode rotateCertificates runOnce
        seccompDefault serializeImagePulls serverTLSBootstrap singleProcessOOMKill
        """,
    "duration": """
        containerLogMonitorInterval cpuCFSQuotaPeriod cpuManagerReconcilePeriod
        evictionPressureTransitionPeriod fileCheckFrequency httpCheckFrequency imageMaximumGCAge
        imageMinimumGCAge nodeStatusReportFrequency nodeStatusUpdateFrequency
        runtimeRequestTimeout shutdownGracePeriod shutdownGracePeriodCriticalPods
        streamingConnectionIdleTimeout syncFrequency volumeStatsAggPeriod
        """,
    "map of text": """
        cpuManagerPolicyOptions defaultPodSysctls evictionHard evictionMinimumReclaim
        evictionSoft evictionSoftGracePeriod kubeReserved qosReserved systemReserved
        topologyManagerPolicyOptions
        """,
    "map of switch": "featureGates",
    "map": """
        authentication authorization crashLoopBackOff logging memorySwap staticPodURLHeader
        tracing userNamespaces
        """,
    "list of text": """
        allowedUnsafeSysctls clusterDNS enforceNodeAllocatable preloadedImagesVerificationAllowlist
        tlsCipherSuites
        """,
    "list": """
        registerWithTaints reservedMemory shutdownGracePeriodByPodPriority tlsCurvePreferences
        """,
}
"""What other fields take, where it is not text."""
_KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()}

_DURATION = re.compile(r"(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+)")
"""A duration as Go reads it. Source: time.ParseDuration."""

_TAKES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "text"),
    "switch": (lambda value: isinstance(value, bool), "true or false"),
    "fraction": (
        lambda value: type(value) in {int, float} and 0 < value <= 1,
        "a number above 0, at most 1",
    ),
    "duration": (
        lambda value: isinstance(value, str) and _DURATION.fullmatch(value) is not None,
        "a duration such as 30s or 1h30m",
    ),
    "map": (lambda value: isinstance(value, Mapping), "keys with values"),
    "list": (lambda value: isinstance(value, list | tuple), "a list"),
}

Wrong = tuple[tuple[str | int, ...], str, str | None]
"""Where below ``kubelet`` something is wrong, what, and the way out."""


def kubelet_mistakes(fields: Mapping[str, Any], version: KubeVersion) -> Iterator[Wrong]:
    """Give the fields with which the kubelet of ``version`` would not start."""
    for name, value in fields.items():
        if name in _OURS:
            yield (name,), "this field is not for others", _OURS[name]
        elif name not in _SINCE:
            if version.minor <= max(_FIELDS_SINCE):  # a newer kubelet may know it
                fact = f"KubeletConfiguration has no field {name[:60]}"
                yield (name,), fact, nearest(name, [*_SINCE])
        elif 20 < (since := _SINCE[name]) > version.minor:
            fact = f"the kubelet of {version} has no field {name}; it came with 1.{since}"
            yield (name,), fact, "leave it out, or use a newer Kubernetes"
        elif value is not None:  # which Kubernetes takes for not given
            yield from _wrong_value(name, value)


def _wrong_value(name: str, value: Any) -> Iterator[Wrong]:
    """Give what is wrong with the value of a known field."""
    if name in _NUMBERS:
        least, most = _NUMBERS[name]
        if type(value) is not int or not least <= value <= most:
            wanted = f"a whole number from {least} to {most}"
            yield (name,), f"expected {wanted}, found {_shown(value)}", None
        return
    kind, _, of = _KIND.get(name, "text").partition(" of ")
    yield from _unlike(kind, value, name)
    if of and _TAKES[kind][0](value):
        for key, item in value.items() if kind == "map" else enumerate(value):
            yield from _unlike(of, item, name, key)


def _unlike(kind: str, value: Any, *steps: str | int) -> Iterator[Wrong]:
    """Give that ``value`` is not of ``kind``, if it is not."""
    takes, wanted = _TAKES[kind]
    if not takes(value):
        hint = "put it in quotes" if kind == "text" else None
        yield steps, f"expected {wanted}, found {_shown(value)}", hint


def _shown(value: Any) -> str:
    return f"{value!r:.60}" if isinstance(value, str | int | float) else "something else"
