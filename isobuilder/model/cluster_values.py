"""The single values of cluster files: one text or number each, checked and in one form."""

from __future__ import annotations

import base64
import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from isobuilder.documents.mistakes import nearest
from isobuilder.model.base import ONE_LINE, IsoPath, check_port

API_PORT = 6443
_EVERYBODY = IPv4Address("255.255.255.255")
_Any = IPv4Address | IPv6Address


def _address(text: str) -> str:
    try:
        found = ip_address(text)
    except ValueError:
        raise ValueError(
            f"expected an IPv4 or IPv6 address such as 10.0.0.1 or fd00::1, found {text[:60]!r}"
        ) from None
    if "%" in text:
        raise ValueError(f"{text[:60]} names an interface, which differs between machines")
    if found.is_unspecified or found.is_multicast or found == _EVERYBODY:
        raise ValueError(f"{text[:60]} is the address of no machine")
    return _unmapped(found)


def _unmapped(found: _Any) -> str:
    """Return an address; IPv4 in the form of IPv6 would be one kind here and another there."""
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        raise ValueError(f"{found} is IPv4 in the form of IPv6; write {found.ipv4_mapped}")
    return str(found)


def _address_in_network(text: str) -> str:
    if "/" not in text:
        raise ValueError(
            f"no prefix length in {text[:60]!r}; write it like 10.0.0.11/24 or fd00::11/64"
        )
    try:
        found = ip_interface(text)
    except ValueError:
        raise ValueError(
            f"expected an address with its prefix length such as 10.0.0.11/24 or fd00::11/64, "
            f"found {text[:60]!r}"
        ) from None
    if "%" in text:
        raise ValueError(f"{text[:60]} names an interface, which differs between machines")
    _unmapped(found.ip)
    network = found.network
    ends = {network.network_address}  # of IPv6 the address of any router there
    if isinstance(found, IPv4Interface):
        ends.add(network.broadcast_address)
    if network.prefixlen < network.max_prefixlen - 1 and found.ip in ends:
        raise ValueError(f"{text} is the address of the network itself or of its broadcasts")
    # Source: Kubernetes, kubelet_node_status.go, validateNodeIP; RFC 791 for 0.0.0.0/8.
    if (
        found.ip.is_loopback
        or found.ip.is_multicast
        or found.ip.is_link_local
        or (isinstance(found, IPv4Interface) and found.packed[0] == 0)
    ):
        raise ValueError(f"{text} is no address that other machines reach")
    return str(found)


def _network(text: str) -> str:
    try:
        found = ip_network(text)
    except ValueError as error:
        why = "bits behind the prefix are set" if "host bits" in str(error) else "not a network"
        raise ValueError(
            f"expected a network such as 10.244.0.0/16 or fd00:10:244::/56, found {text[:60]!r}: "
            f"{why}"
        ) from None
    if found.is_loopback or found.is_multicast:
        raise ValueError(f"{text} is no network of machines")
    _unmapped(found.network_address)
    return str(found)


def _listed(value: object) -> object:
    """Return one text, which may have several values with commas between, as their list."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return tuple(value) if isinstance(value, list) else value


_HOST = re.compile(
    r"(?!.{254})[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)


def _host(text: str) -> str:
    """Return a DNS name or IPv4 address in lower case, as kubeadm wants it."""
    name = text.lower()
    if not _HOST.fullmatch(name):
        raise ValueError(f"expected a DNS name or an IP address, found {text[:80]!r}")
    return _address(name) if re.fullmatch(r"[0-9.]+", name) else name


def _host_name(text: str) -> str:
    """Return a DNS name or an address of either kind."""
    return _address(text) if ":" in text else _host(text)


def _certificate_name(text: str) -> str:
    """Return a name of the API server's certificate, which may stand for all names of a domain."""
    if not text.startswith("*."):
        return _host_name(text)
    name = text.removeprefix("*.").lower()
    if not _HOST.fullmatch(name) or re.fullmatch(r"[0-9.]+", name):
        raise ValueError(f"expected a DNS name behind the star, found {text[:80]!r}")
    return f"*.{name}"


def _endpoint(text: str) -> str:
    match = re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", text)
    if match is None or not 0 < int(match[2] or API_PORT) < 65536:
        hint = "; an IPv6 address stands in brackets" if text.count(":") > 1 else ""
        raise ValueError(f"expected host or host:port, found {text[:80]!r}{hint}")
    host = match[1]
    host = f"[{_address(host[1:-1])}]" if host.startswith("[") else _host(host)
    return f"{host}:{match[2] or API_PORT}"


def host_port(address: str, port: int = API_PORT) -> str:
    """Return ``address:port``, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _registry_name(text: str) -> str:
    match = re.fullmatch(r"([A-Za-z0-9.-]+)(:[0-9]{1,5})?", text)
    if match is None:
        raise ValueError(f"expected a registry's host or host:port, found {text[:80]!r}")
    check_port(urlsplit(f"//{text}"))
    return _host(match[1]) + (match[2] or "")


_KEY = re.compile(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]{60,}={0,3}"
    r"(?: [^\x00-\x1f\x7f-\x9f\u2028\u2029]*)?"
)


def _ssh_key(text: str) -> str:
    text = text.strip()
    if "PRIVATE KEY" in text:
        raise ValueError("a private key; give the public one, from the file that ends in .pub")
    if not _KEY.fullmatch(text):
        raise ValueError(
            f"expected a public key such as 'ssh-ed25519 AAAA... name', found {text[:40]!r}"
        )
    kind, data = text.split(" ")[:2]
    try:
        told = base64.b64decode(data, validate=True)
    except ValueError:
        told = b""
    # Source: RFC 4253, 6.6: the type once more, behind its length, and then the key.
    head = len(kind).to_bytes(4, "big") + kind.encode()
    if not told.startswith(head) or len(told) < len(head) + 32:
        raise ValueError(f"what stands behind {kind} is no key of that type, or not the whole one")
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        raise ValueError("not an address") from None
    if parts.scheme not in {"http", "https"} or not host or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("expected http://host:port or https://host:port")
    check_port(parts)
    if any(character in text for character in "\"'\\`$"):
        raise ValueError("quotes, backslash or $ must be percent-encoded in an address")
    return text.rstrip("/")


def _registry_address(text: str) -> str:
    text = _web_address(text)
    if urlsplit(text).username is not None:
        raise ValueError("credentials in the address of a registry; containerd takes none there")
    return text


def _seconds(text: str) -> str:
    """Return the duration in seconds, which Kubernetes reads at every place."""
    match = re.fullmatch(r"([0-9]{1,6})(s|m|h)", text)
    if match is None:
        raise ValueError(f"expected a duration such as 90s, 20m or 24h, found {text[:40]!r}")
    return f"{int(match[1]) * {'s': 1, 'm': 60, 'h': 3600}[match[2]]}s"


def _not_zero(text: str) -> str:
    if text == "0s":
        raise ValueError("no time at all")
    return text


def _path(text: str) -> str:
    if not re.fullmatch(r"/(?:[A-Za-z0-9._@:+-]+/)*[A-Za-z0-9._@:+-]+", text) or re.search(
        r"/\.\.?(?:/|$)", text
    ):
        raise ValueError(f"expected an absolute path of plain characters, found {text[:80]!r}")
    return text


def _cni(text: object) -> object:
    if isinstance(text, str) and (text in {"bridge", "none"} or text.endswith((".yaml", ".yml"))):
        return text
    raise ValueError(
        f"expected bridge, none or the path of a manifest on the ISO such as network.yaml, "
        f"found {str(text)[:60]!r}"
    )


_LABEL_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"


def _label(text: str) -> str:
    """Return a key of a label or taint. Source: Kubernetes, "Labels and Selectors", syntax."""
    prefix, slash, name = text.rpartition("/")
    if not re.fullmatch(_LABEL_NAME, name) or (slash and not _HOST.fullmatch(prefix)):
        raise ValueError(f"expected a label such as zone or example.com/zone, found {text[:80]!r}")
    return text


def _label_value(text: str) -> str:
    if text and not re.fullmatch(_LABEL_NAME, text):
        raise ValueError(
            f"expected up to 63 letters, digits, dots, dashes or underscores between letters or "
            f"digits, found {text[:80]!r}"
        )
    return text


def _taint(text: str) -> str:
    match = re.fullmatch(r"([^=:]+)(?:=([^=:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)", text)
    if match is None:
        raise ValueError(f"expected a taint such as gpu=yes:NoSchedule, found {text[:80]!r}")
    _label(match[1])
    _label_value(match[2] or "")
    return text


def _flag(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", text):
        raise ValueError(f"expected a flag without its dashes, found {text[:80]!r}")
    return text


_SALT = r"[!-#%-9;-~]"
_HASH = re.compile(
    rf"\$(?:6\$(?:rounds=[0-9]+\$)?{_SALT}{{0,16}}\$[./A-Za-z0-9]{{86}}"
    rf"|5\$(?:rounds=[0-9]+\$)?{_SALT}{{0,16}}\$[./A-Za-z0-9]{{43}}"
    rf"|1\$({_SALT}{{0,8}})\$[./A-Za-z0-9]{{22}}"
    rf"|2[abxy]\$[0-9]{{2}}\$[./A-Za-z0-9]{{53}}"
    rf"|(?:7|g?y)\$(?:[./A-Za-z0-9]+\$)+[./A-Za-z0-9]{{43}})"
)
"""A method, its settings, the salt and the whole hash. Source: crypt(5)."""


def _password_hash(text: object) -> object:
    # What stands here is shown to nobody: it may well be the password itself.
    if not isinstance(text, str) or not _HASH.fullmatch(text):
        raise ValueError("expected a hash of a password, as openssl passwd -6 prints it")
    return text


def _user(text: str) -> str:
    # Source: cloud-init, distros/ug_util.py, normalize_users_groups.
    if text == "default":
        raise ValueError("cloud-init takes default for the distribution's own user; choose another")
    return text


def _interface(text: str) -> str:
    if text == "lo":
        raise ValueError("lo is the machine itself, which no other machine reaches")
    if text.startswith("*"):
        raise ValueError(f"{text} may be lo as well; write the beginning of the name, such as en*")
    return text


def _volume_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise ValueError(f"expected a name of lower-case letters and digits, found {text[:80]!r}")
    return text


def _mac(text: str) -> str:
    """Return the address of one interface in lower case. Source: IEEE 802, the individual bit."""
    if int(text[:2], 16) & 1:
        raise ValueError(f"{text} is the address of a group, which no interface has")
    if text == "00:00:00:00:00:00":
        raise ValueError(f"{text} is the address of no interface")
    return text.lower()


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", text):
        raise ValueError(f"expected the name of an environment variable, found {text[:80]!r}")
    return text


def _timezone(text: str) -> str:
    # Source: the names in tzdata's tab files.
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}", text):
        raise ValueError(f"expected a time zone such as Asia/Seoul or UTC, found {text[:60]!r}")
    known = available_timezones()  # none where tzdata is not installed, as in small containers
    if known and text not in known:
        alike = [one for one in known if one.startswith(text[:6])]  # a few of hundreds: Asia/S
        raise ValueError(f"there is no time zone {text[:60]}; {nearest(text, alike or [*known])}")
    return text


NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Address = Annotated[str, AfterValidator(_address)]
NodeAddress = Annotated[str, AfterValidator(_address_in_network)]
Network = Annotated[str, AfterValidator(_network)]
_Text = str | tuple[str, ...]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_listed, json_schema_input_type=_Text)]
"""One address, or one of IPv4 and one of IPv6: a list, or a text with a comma between."""
NodeAddresses = Annotated[
    tuple[NodeAddress, ...], BeforeValidator(_listed, json_schema_input_type=_Text)
]
OneOrTwoNetworks = Annotated[
    tuple[Network, ...], BeforeValidator(_listed, json_schema_input_type=_Text)
]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
SshKey = Annotated[str, AfterValidator(_ssh_key)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
RegistryAddress = Annotated[str, AfterValidator(_registry_address)]
Duration = Annotated[str, AfterValidator(_seconds)]
Patience = Annotated[str, AfterValidator(_seconds), AfterValidator(_not_zero)]
AbsolutePath = Annotated[str, AfterValidator(_path)]
Cni = Annotated[Literal["bridge", "none"] | IsoPath, BeforeValidator(_cni)]
Mac = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"),
    AfterValidator(_mac),
]
Interface = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z0-9_.*-]{1,15}$"), AfterValidator(_interface)
]
CertificateName = Annotated[str, AfterValidator(_certificate_name)]
HostName = Annotated[str, AfterValidator(_host_name)]
Domain = Annotated[str, AfterValidator(_host)]
RegistryName = Annotated[str, AfterValidator(_registry_name)]
UserName = Annotated[
    str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$"), AfterValidator(_user)
]
Flag = Annotated[str, AfterValidator(_flag)]
Line = Annotated[str, StringConstraints(pattern=ONE_LINE)]
Script = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]+$")]
Taint = Annotated[str, AfterValidator(_taint)]
Label = Annotated[str, AfterValidator(_label)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
PasswordHash = Annotated[str, BeforeValidator(_password_hash)]
VolumeName = Annotated[str, AfterValidator(_volume_name)]
Variable = Annotated[str, AfterValidator(_variable)]
Timezone = Annotated[str, AfterValidator(_timezone)]
