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

_DURATION = re.compile(
    r"(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|ms|s|m|h))+)", re.ASCII
)
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

_ONE_OF = {
    "configMapAndSecretChangeDetectionStrategy": ("Get", "Cache", "Watch"),
    "cpuManagerPolicy": ("none", "static"),
    "hairpinMode": ("promiscuous-bridge", "hairpin-veth", "none"),
    "imagePullCredentialsVerificationPolicy": (
        *("NeverVerify", "NeverVerifyPreloadedImages"),
        *("NeverVerifyAllowlistedImages", "AlwaysVerify"),
    ),
    "memoryManagerPolicy": ("None", "Static"),
    "memoryReservationPolicy": ("None", "TieredReservation"),
    "tlsMinVersion": ("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"),
    "topologyManagerPolicy": ("none", "best-effort", "restricted", "single-numa-node"),
    "topologyManagerScope": ("container", "pod"),
}
"""Texts that a field takes; an empty one stands for what the kubelet chooses itself."""
_ENFORCED: tuple[str, ...] = ("pods", "system-reserved", "kube-reserved", "none")
_ENFORCED += ("system-reserved-compressible", "kube-reserved-compressible")

_QUANTITY = r"\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?"
_AMOUNT = (re.compile(_QUANTITY, re.ASCII), "an amount such as 500m or 1Gi")
_SHARE = r"(?:100(?:\.0*)?|[0-9]{1,2}(?:\.[0-9]*)?)%"
_RECLAIM = (
    re.compile(rf"{_SHARE}|{_QUANTITY}", re.ASCII),
    "an amount such as 1Gi or a share such as 10%",
)
_THRESHOLD = (re.compile(rf"{_SHARE}|(?=\+?[0.]*[1-9]){_QUANTITY}", re.ASCII), _RECLAIM[1])
_DISKS = ("nodefs", "imagefs", "containerfs")
_SIGNALS: tuple[str, ...] = ("memory.available", "allocatableMemory.available", "pid.available")
_SIGNALS += tuple(f"{disk}.{what}" for disk in _DISKS for what in ("available", "inodesFree"))
_RESERVED = ("cpu", "memory", "ephemeral-storage", "pid")
_MAPS: dict[str, tuple[tuple[str, ...], tuple[re.Pattern[str], str]]] = {
    "evictionHard": (_SIGNALS, _THRESHOLD),
    "evictionMinimumReclaim": (_SIGNALS, _RECLAIM),
    "evictionSoft": (_SIGNALS, _THRESHOLD),
    "evictionSoftGracePeriod": (_SIGNALS, (_DURATION, "a duration such as 30s or 1h30m")),
    "kubeReserved": (_RESERVED, _AMOUNT),
    "systemReserved": (_RESERVED, _AMOUNT),
}
"""Maps by the keys and the texts that they take.

Source: ``pkg/kubelet/eviction/helpers.go``; parseResourceList of ``cmd/kubelet/app/server.go``.
"""

Wrong = tuple[tuple[str | int, ...], str, str | None]
"""Where below ``kubelet`` something is wrong, what, and the way out."""


def kubelet_mistakes(fields: Mapping[str, Any], version: KubeVersion) -> Iterator[Wrong]:
    """Give the fields with which the kubelet of ``version`` would not start."""
    wrong = list(_wrong_fields(fields, version))
    yield from wrong
    if not wrong:
        yield from _wrong_pairs(
            {name: value for name, value in fields.items() if value is not None}
        )


def _wrong_fields(fields: Mapping[str, Any], version: KubeVersion) -> Iterator[Wrong]:
    """Give the fields that are wrong by themselves."""
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
    if _TAKES[kind][0](value):
        yield from _wrong_text(name, value)


def _wrong_text(name: str, value: Any) -> Iterator[Wrong]:
    """Give the texts of a field of the right kind that no kubelet takes."""
    if value and value not in (known := _ONE_OF.get(name, (value,))):
        yield (name,), f"expected {_either(known)}, found {_shown(value)}", None
    if name == "enforceNodeAllocatable":
        for index, item in enumerate(value):
            if isinstance(item, str) and item not in _ENFORCED:
                yield (name, index), f"expected {_either(_ENFORCED)}, found {_shown(item)}", None
    keys, (form, wanted) = _MAPS.get(name, ((), _AMOUNT))
    for key, item in value.items() if keys else ():
        if key not in keys:
            yield (name, key), f"no kubelet knows {_shown(key)} there", nearest(str(key), [*keys])
        elif isinstance(item, str) and not form.fullmatch(item):
            yield (name, key), f"expected {wanted}, found {_shown(item)}", None


def _wrong_pairs(fields: Mapping[str, Any]) -> Iterator[Wrong]:
    """Give the fields that do not fit to others, or that would leave the node out."""
    low = fields.get("imageGCLowThresholdPercent", 80)
    high = fields.get("imageGCHighThresholdPercent", 85)
    if low >= high:
        name = "imageGCLowThresholdPercent"
        name = name if name in fields else "imageGCHighThresholdPercent"
        fact = f"imageGCLowThresholdPercent {low} is not below imageGCHighThresholdPercent {high}"
        yield (name,), fact, "set both; without a word they are 80 and 85"
    for signal in fields.get("evictionSoft", ()):
        if signal not in fields.get("evictionSoftGracePeriod", ()):
            fact = f"{signal} has no evictionSoftGracePeriod"
            yield ("evictionSoft", signal), fact, f"add it: {signal}: 1m30s"
    critical = fields.get("shutdownGracePeriodCriticalPods", "0")
    whole = fields.get("shutdownGracePeriod", "0")
    if _seconds(critical) > _seconds(whole):
        fact = f"{critical} of them are more than shutdownGracePeriod, {whole}"
        yield ("shutdownGracePeriodCriticalPods",), fact, "it is a part of that time"
    if fields.get("runOnce"):
        yield ("runOnce",), "no kubelet that runs once becomes a node", "leave it out"
    if fields.get("registerNode") is False:
        yield ("registerNode",), "the node would never be in the cluster", "leave it out"
    # Who says nothing of serializeImagePulls gets what fits. Source: v1beta1/defaults.go, 1.27.
    if fields.get("serializeImagePulls") and fields.get("maxParallelImagePulls", 1) > 1:
        fact = "more than one at a time, and serializeImagePulls is true"
        yield ("maxParallelImagePulls",), fact, "leave serializeImagePulls out"


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(text: str) -> float:
    """Return how long a duration of Go is."""
    parts = re.findall(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _either(values: tuple[str, ...]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}"


def _unlike(kind: str, value: Any, *steps: str | int) -> Iterator[Wrong]:
    """Give that ``value`` is not of ``kind``, if it is not."""
    takes, wanted = _TAKES[kind]
    if not takes(value):
        hint = "put it in quotes" if kind == "text" else None
        yield steps, f"expected {wanted}, found {_shown(value)}", hint


def _shown(value: Any) -> str:
    return f"{value!r:.60}" if isinstance(value, str | int | float) else "something else"
