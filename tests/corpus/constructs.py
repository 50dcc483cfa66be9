"""Small manifests, one for each construct that real ones have: a table, and what it gives.

Each says which images kubectl's reader finds in it, as they are written there and in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

A, BOARD, NODE = "a:1", "someui/board:v2", "extra.example/node:v1"


@dataclass(frozen=True)
class Construct:
    """One manifest."""

    name: str
    data: bytes
    images: tuple[str, ...]
    ignored: tuple[str, ...] = ()  # of the images those that a recipe has to ignore
    shared: int = 0  # how many of them stand in two places by an alias


def _case(
    name: str, text: str | bytes, *images: str, ignored: tuple[str, ...] = (), shared: int = 0
) -> Construct:
    data = text if isinstance(text, bytes) else text.encode()
    return Construct(name, data, images, ignored, shared)


def head(kind: str = "Pod", api: str = "v1", name: str = "a") -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}}}\n"


def pod(image: str, more: str = "") -> str:
    return f"{head()}spec:\n  containers:\n  - name: c\n    image: {image}\n{more}"


# --- where a pod may be, and what in it names an image ---

_WORKLOADS = {
    "Pod": ("v1", "spec"),
    "ReplicationController": ("v1", "spec.template.spec"),
    "PodTemplate": ("v1", "template.spec"),
    "Deployment": ("apps/v1", "spec.template.spec"),
    "DaemonSet": ("apps/v1", "spec.template.spec"),
    "StatefulSet": ("apps/v1", "spec.template.spec"),
    "ReplicaSet": ("apps/v1", "spec.template.spec"),
    "Job": ("batch/v1", "spec.template.spec"),
    "CronJob": ("batch/v1", "spec.jobTemplate.spec.template.spec"),
    "Rollout": ("x.example/v1", "spec.template.spec"),
    "Prometheus": ("x.example/v1", "spec"),
    "Cluster": ("x.example/v1", "spec.workers.podTemplate.spec"),
    "Tasks": ("x.example/v1", "spec.tasks.taskSpec"),
}
_FIELDS = {
    "container": "containers:\n- name: w\n  image: {}\n",
    "init": "initContainers:\n- name: i\n  image: {}\n  restartPolicy: Always\n",
    "ephemeral": "ephemeralContainers:\n- image: {}\n  name: e\n  targetContainerName: c\n",
    "volume": "volumes:\n- name: v\n  image:\n    reference: {}\n    pullPolicy: Always\n",
}


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" if line else "\n" for line in text.splitlines())


def _below(path: str, text: str) -> str:
    keys = path.split(".")
    lines = "".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(keys))
    return lines + _indented(text, 2 * len(keys))


def workloads() -> Iterator[Construct]:
    for kind, (api, path) in _WORKLOADS.items():
        for field, text in _FIELDS.items():
            body = _below(path, text.format(NODE))
            yield _case(f"{field} of {kind}", head(kind, api) + body, NODE)
        every = "".join(
            text.format(name) for text, name in zip(_FIELDS.values(), _ORDER, strict=True)
        )
        yield _case(f"all fields of {kind}", head(kind, api) + _below(path, every), *_ORDER)


_ORDER = (NODE, A, "docker.io/a:1", BOARD)


# --- how an image is called, and how its name is written ---

NAMES = (
    A,
    "docker.io/a:1",
    "index.docker.io/a:1",
    "docker.io/library/a:1",
    "index.docker.io/library/a:1",
    BOARD,
    "docker.io/someui/board:v2",
    "index.docker.io/someui/board:v2",
    NODE,
    "extra.example/deep/er/path:1.2.3-r.4_5",
    "extra.example/under_score/dou__ble/da--sh/d.ot:V1.0_x-y",
    "extra.example/longest:" + "v" * 128,
    "EXTRA.example/capital:1",
)

_STYLES = {
    "plain": "  - image: {}\n    name: c\n",
    "single quotes": "  - image: '{}'\n    name: c\n",
    "double quotes": '  - image: "{}"\n    name: c\n',
    "a comment behind": "  - image: {} # v{}\n    name: c\n",
    "blanks behind": "  - image: {}   \t\n    name: c\n",
    "a tab before": "  - image:\t{}\n    name: c\n",
    "many blanks before": "  - image:          {}\n    name: c\n",
    "blanks before the colon": "  - image  : {}\n    name: c\n",
    "the next line": "  - image:\n      {}\n    name: c\n",
    "the next line behind a comment": "  - image: # here\n      {}\n    name: c\n",
    "folded": "  - image: >-\n      {}\n    name: c\n",
    "literal": "  - image: |-\n      {}\n    name: c\n",
    "folded with an indentation": "  - image: >2-\n      {}\n    name: c\n",
    "folded quotes": '  - image: "\\\n      {}"\n    name: c\n',
    "an anchor": "  - image: &name {}\n    name: c\n",
    "a tag": "  - image: !!str {}\n    name: c\n",
    "a tag and quotes": "  - image: !!str '{}'\n    name: c\n",
    "an own tag": "  - image: !own {}\n    name: c\n",
    "a verbatim tag": "  - image: !<tag:yaml.org,2002:str> {}\n    name: c\n",
    "a quoted key": "  - \"image\": {}\n    'name': c\n",
    "an escaped key": '  - "im\\x61ge": {}\n    name: c\n',
    "a key of its own": "  - ? image\n    : {}\n    ? name\n    : c\n",
    "a list below a dash": "  -\n    image: {}\n    name: c\n",
    "a key behind the image": "  - image: {}\n    command: [sh, -c, 'image: no/image']\n",
    "flow": "  - {{name: c, image: {}}}\n",
    "flow with quotes": "  - {{name: c, image: '{}'}}\n",
    "flow over lines": "  - {{\n    name: c,\n    image: {}\n    }}\n",
    "flow with a trailing comma": "  - {{name: c, image: {},}}\n",
    "flow with a comment": "  - {{name: c, # the name\n     image: {} }}\n",
    "flow list": "    [{{name: c, image: {}}}]\n",
    "a pair in a flow list": "    [image: {}]\n",
    "a key alone in flow": "  - {{imagePullPolicy, name: c, image: {}}}\n",
    "JSON in a line": '  - {{"name":"c","image":"{}"}}\n',
}


def names_and_styles() -> Iterator[Construct]:
    for name in NAMES:
        yield _case(f"the name {name[:40]}", pod(name), name)
        yield _case(f"{name[:40]} quoted", pod(f'"{name}"'), name)
    for style, text in _STYLES.items():
        for name in (BOARD, NODE):
            container = text.replace("{}", name, 1).replace(" # v{}", " # v1").replace("{{", "{")
            container = container.replace("}}", "}")
            yield _case(f"{style}: {name}", f"{head()}spec:\n  containers:\n{container}", name)


# --- pull policies ---

_POLICIES = {
    "always": "Always",
    "never": "Never",
    "already right": "IfNotPresent",
    "quoted": "'Always'",
    "null": "",
    "a tilde": "~",
    "folded": ">-\n      Always",
    "a comment": "Always # why",
    "an anchor": "&policy Always",
    "an unknown word": "Sometimes",
}


def policies() -> Iterator[Construct]:
    for name, policy in _POLICIES.items():
        yield _case(f"policy {name}", pod(NODE, f"    imagePullPolicy: {policy}\n"), NODE)
        before = f"  - imagePullPolicy: {policy}\n    image: {NODE}\n    name: c\n"
        yield _case(f"policy {name} before", f"{head()}spec:\n  containers:\n{before}", NODE)
    for text in ("imagePullPolicy: Always", '"imagePullPolicy":"Never"', "imagePullPolicy: "):
        flow = f"  - {{{text}, image: {NODE}, name: c}}\n"
        yield _case(f"policy {text} in flow", f"{head()}spec:\n  containers:\n{flow}", NODE)


# --- files and documents ---

JSON = (
    '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j"},'
    f'"spec":{{"containers":[{{"name":"c","image":"{NODE}"}}]}}}}'
)
PRETTY = JSON.replace(",", ",\n\t").replace("{", "{\n\t")


def files() -> Iterator[Construct]:
    one, other = pod(A), pod(BOARD)
    both = one + "---\n" + other
    texts: dict[str, tuple[str, tuple[str, ...]]] = {
        "two documents": (both, (A, BOARD)),
        "a first separator": ("---\n" + one, (A,)),
        "a last separator": (one + "---\n", (A,)),
        "empty documents": ("---\n---\n\n---\n# nothing\n---\n" + both + "---\n---\n", (A, BOARD)),
        "null documents": ("null\n---\n" + one + "---\n~\n", (A,)),
        "comments at separators": ("--- # a\n" + one + "---  # b: c\n" + other, (A, BOARD)),
        "blanks at separators": (one + "---  \t\n" + other, (A, BOARD)),
        "an end of the document": (one + "...\n---\n" + other + "...\n", (A, BOARD)),
        "a comment of a licence": ("# Copyright\n# ---\n#\n\n" + one, (A,)),
        "no last line end": (one.rstrip("\n"), (A,)),
        "many last line ends": (one + "\n\n\n", (A,)),
        "blank lines and comments": (one.replace("spec:", "\n# spec\n\nspec:"), (A,)),
        "indented": (_indented(one, 2), (A,)),
        "a separator in a text": (
            head("ConfigMap") + "data:\n  a: |\n    x\n    ---\n    image: no/image:1\n---\n" + one,
            (A,),
        ),
        "JSON": (JSON, (NODE,)),
        "JSON over lines with tabs": (PRETTY, (NODE,)),
        "JSON behind blanks": (" \n\t\n" + JSON, (NODE,)),
        "JSON values on lines": (f"{JSON}\n{JSON}\n{JSON}\n", (NODE,) * 3),
        "JSON values without a line end": (JSON + JSON, (NODE,) * 2),
        "JSON with separators": (f"{JSON}\n---\n{JSON}\n", (NODE,) * 2),
        "JSON, then YAML": (f"{JSON}\n---\n{one}", (NODE, A)),
        "JSON, then YAML without a separator": (f"{JSON}\n{one}", (NODE, A)),
        "JSON, then a comment": (f"{JSON}\n# end\n", (NODE,)),
        "YAML, then JSON": (f"{one}---\n{JSON}\n", (A, NODE)),
        "JSON behind a comment": (f"# made by a program\n{JSON}\n", (NODE,)),
        "JSON with escapes": (
            JSON.replace("extra.example/", "extra.example\\/").replace(
                '"j"', '"j","annotations":{"a":"\\u00e9\\ud83d\\ude00\\n\\t\\"\\\\\\/\\ud83d"}'
            ),
            (NODE,),
        ),
        "JSON with numbers": (
            JSON.replace(
                '"spec"', '"n":[0,-1,1.5,1e3,-0.25E-2,12345678901],"b":true,"x":null,"spec"'
            ),
            (NODE,),
        ),
        "JSON with a key of two thousand characters": (
            JSON.replace('"spec"', '"' + "k" * 2000 + '":1,"spec"'),
            (NODE,),
        ),
        "JSON with marks of its own lines": (
            JSON.replace('"j"', '"j","annotations":{"a":"\u2028\u2029\x85\x7f"}'),
            (NODE,),
        ),
        "flow that is no JSON": ("{apiVersion: v1, kind: Pod, metadata: {name: a}}\n", ()),
        "words of many languages": (
            one.replace("{name: a}", "{name: a, annotations: {설명: 용기, ü: 'é😀', 日: 語}}"),
            (A,),
        ),
    }
    for name, (text, images) in texts.items():
        yield _case(name, text, *images)
    for name in ("two documents", "JSON values on lines", "empty documents", "no last line end"):
        text, images = texts[name]
        crlf = text.replace("\n", "\r\n")
        yield _case(f"{name}, line ends of Windows", crlf, *images)
        yield _case(f"{name}, a byte order mark", "\ufeff" + text, *images)
        yield _case(f"{name}, UTF-16 of Windows", ("\ufeff" + crlf).encode("utf-16-le"), *images)
        yield _case(f"{name}, UTF-16 of others", ("\ufeff" + text).encode("utf-16-be"), *images)
    yield _case("files with marks put together", f"\ufeff{one}---\n\ufeff{other}", A, BOARD)
    yield _case("line ends of old Macs", one.replace("\n", "\r"), A)
    yield _case("a quote of Windows in a comment", b"# it\x92s\n" + one.encode(), A)
    yield _case("Korean of Windows in a comment", "# 한글\n".encode("cp949") + one.encode(), A)
    yield _case(
        "Latin-1 in a value", one.replace("{name: a}", "{name: a, x: é}").encode("latin-1"), A
    )


# --- lists ---


def lists() -> Iterator[Construct]:
    item = _indented(pod(A), 2).replace("  apiVersion", "- apiVersion", 1)
    yield _case("a List", f"apiVersion: v1\nkind: List\nitems:\n{item}{item}", A, A)
    yield _case(
        "a List with metadata", f"kind: List\nmetadata: {{}}\nitems:\n{item}apiVersion: v1\n", A
    )
    yield _case(
        "a List in JSON", f'{{"apiVersion":"v1","kind":"List","items":[{JSON},{JSON}]}}', NODE, NODE
    )
    bare = f"- metadata: {{name: b}}\n  spec: {{containers: [{{name: c, image: {A}}}]}}\n"
    yield _case("a list of pods", f"apiVersion: v1\nkind: PodList\nitems:\n{bare}", A)
    yield _case(
        "a list beside a pod",
        f"apiVersion: v1\nkind: List\nitems:\n{item}---\n{pod(NODE)}",
        A,
        NODE,
    )
    yield _case("an empty List", f"apiVersion: v1\nkind: List\nitems: []\n---\n{pod(A)}", A)
    yield _case("a List of null", f"apiVersion: v1\nkind: List\nitems:\n---\n{pod(A)}", A)


# --- anchors, aliases, merged and doubled keys ---


def shared() -> Iterator[Construct]:
    base = f"{head()}x: &base {{image: {NODE}, imagePullPolicy: Always}}\nspec:\n  containers:\n"
    yield _case("a merged image", f"{base}  - <<: *base\n    name: c\n", NODE)
    yield _case("a merged image that is written over", f"{base}  - <<: *base\n    image: {A}\n", A)
    policy = base.replace(f"image: {NODE}, ", "")
    yield _case("a merged policy", f"{policy}  - <<: *base\n    image: {A}\n    tty: true\n", A)
    yield _case("merged in flow", f"{base}  - {{<<: *base, name: c}}\n", NODE)
    yield _case(
        "a list of merged parts", f"{base}  - <<: [*base, {{tty: true}}]\n    name: c\n", NODE
    )
    yield _case(
        "one container in two lists",
        f"{head()}spec:\n  initContainers: &all\n  - {{name: c, image: {A}}}\n  containers: *all\n",
        A,
        shared=1,
    )
    yield _case(
        "one container twice",
        f"{head()}spec:\n  containers:\n  - &c\n    image: {A}\n    name: c\n  - *c\n",
        A,
        shared=1,
    )
    yield _case(
        "an anchored map",
        f"{head()}x: &l {{app: a}}\nspec:\n  selector: *l\n  containers:\n  - image: {A}\n",
        A,
    )
    yield _case(
        "anchors of two documents", f"x: &a b\n{pod(A)}---\nx: &a c\ny: *a\n{pod(NODE)}", A, NODE
    )
    yield _case("a doubled key elsewhere", f"{pod(A)}x: 1\nx: 2\n", A)
    yield _case("doubled containers", f"{pod(NODE)}  containers: [{{name: d, image: {A}}}]\n", A)


# --- values that readers differ in ---

VALUES = (
    "yes", "No", "on", "OFF", "y", "N", "true", "False", "TRUE", "tRUE", "~", "null", "NULL",
    "nUll", "0x1F", "0b101", "017", "0o17", "08", "1_000", "_1", "1:30", "190:20:30.15", "1e3",
    "1E-3", "-.5", "+.5", "5.", "+1", "-0", "+0x1F", "-017", "0x", "0b2", "1.2.3", "1e", "1e400",
    "12345678901234567", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "0xffffffffffffffffff", "2001-12-14", "2001-12-14t21:59:43.10-05:00", "2024-99-99", "=", "<<",
    "'<<'", "'yes'", '"1.10"', "!!str 1.10", "!!int '3'", "!!float 3", "!!bool 'yes'", "!!null ''",
    "!!binary aGk=", "!!binary /w==", "!!timestamp 2002-12-14", "!vault x",
    "!!python/object:os.system x", "! 3", "!!set {a, b}", "!!omap [a: b]", "!include {a: b}",
    "[a, b,]", "{a, b}", "{a: , b: }", "{1: a, yes: b, 0x10: c, 1.5: d}", "{a: b, a: c}", "[? a]",
    "[a: b, c]", "{\"a\":1,'b':2}", "{a:1}", "a#b", "a #b", "a:b", "'a''b'",
    '"a\\x41\\u00e9\\U0001F600\\n\\e\\_"', '"a\\\n      b"', "'a\n    b\n\n    c'", "a\n    b",
    "|\n    a: b # no comment\n     c\n\n    d", "|-\n    a", "|+\n    a\n\n", "|2-\n      a",
    "|1\n   a", ">\n    a\n    b\n\n    c", ">-\n    a\n      b\n    c", "> # why\n    a",
    "\"\\\"{{ .Values.image }}\\\"\"", "'{{ .Values.image }}'", "'%a'", "0.0.0.0", "10.0.0.0/8",
    "::1", "1,000", "a\tb", "'a\ufeffb'", "'--- a'", "$(VAR)", "${VAR}", "'@a'", "-1", "[-1, -.5]",
    "é", "''", '""', "|\n    ",
)  # fmt: skip


def values() -> Iterator[Construct]:
    for number, value in enumerate(VALUES):
        text = (
            f"{head('Thing', 'x.example/v1')}spec:\n  v: {value}\n  containers:\n  - image: {A}\n"
        )
        yield _case(f"value {number} {value[:30]!r}", text, A)


# --- what names no image ---

_CRD = """\
spec:
  group: x.example
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        properties:
          image: {type: string, description: 'such as quay.io/a/b:v1', default: ''}
          containers:
            items:
              properties:
                image: {type: string}
                op: {enum: ["!=", =, ==, =~]}
"""
_NONE = {
    "a schema": head("CustomResourceDefinition", "apiextensions.k8s.io/v1") + _CRD,
    "a pod in a text": head("ConfigMap")
    + "data:\n  p.yaml: |\n    containers:\n    - {image: 'no/image'}\n",
    "an annotation": head().replace("{name: a}", "{name: a, annotations: {image: auto}}"),
    "a comment": f"{head()}# image: quay.io/no/image:1\nspec: {{}} # image: x\n",
    "rules for resources": head("ClusterRole", "rbac.authorization.k8s.io/v1")
    + "rules: [{apiGroups: [image.example], resources: [images, containers], verbs: [get]}]\n",
    "a null": pod(""),
    "a tilde": pod("~"),
    "a null in words": pod("null"),
    "a null in quotes of a tag": pod("!!null ''"),
    "an anchored null": pod("&x"),
    "no key": f"{head()}spec:\n  containers:\n  - name: c\n",
    "a map as image": f"{head()}spec:\n  containers:\n  - image: {{pullPolicy: Always}}\n",
    "a list as image": f"{head()}spec:\n  containers:\n  - image: [one]\n",
    "containers that are a map": f"{head()}spec:\n  containers: {{image: one}}\n",
    "containers that are a text": f"{head()}spec: {{containers: all, volumes: none}}\n",
    "containers of texts": f"{head()}spec: {{containers: [one, 2, ~]}}\n",
    "keys in capitals": f"{head()}spec:\n  Containers: [{{image: one}}]\n",
    "other volumes": f"{head()}spec: {{volumes: [{{name: v, emptyDir: {{}}}}, {{image: text}}]}}\n",
    "a null volume": f"{head()}spec: {{volumes: [{{name: v, image: {{reference: ~}}}}]}}\n",
    "a secret": head("Secret") + "type: Opaque\nstringData: {a: yes please}\ndata: {b: aGk=}\n",
    "numbers as names": head().replace("{name: a}", "{name: '1', labels: {a: '1.10', b: 'on'}}"),
}
_IGNORED = {
    "a pattern of a policy": "!*:latest",
    "a word for a controller": "auto",
    "an empty text": "",
    "a template": "{{ .Values.image }}",
    "a variable": "${REGISTRY}/a:v1",
    "a gap": "<image>",
    "a source of ko": "ko://example.com/cmd",
    "a moving tag": "quay.io/some/thing:latest",
    "no tag": "quay.io/some/thing",
}


def no_images() -> Iterator[Construct]:
    for name, text in _NONE.items():
        yield _case(f"none: {name}", text)
    for name, image in _IGNORED.items():
        yield _case(f"ignored: {name}", pod(f'"{image}"'), image, ignored=(image,))


MENTIONED = ("no/image", "no/image:1", "one", "text")
"""What looks like an image outside image fields."""

KINDS = {
    "v1": ["ConfigMap", "Secret"],
    "apps/v1": [],
    "batch/v1": [],
    "apiextensions.k8s.io/v1": ["CustomResourceDefinition"],
    "rbac.authorization.k8s.io/v1": ["ClusterRole"],
    "x.example/v1": ["Thing"],
}
"""Every kind of the corpus, by group and version."""
for _kind, (_api, _) in _WORKLOADS.items():
    KINDS[_api].append(_kind)


def corpus() -> tuple[Construct, ...]:
    """Return every construct, each once."""
    parts = (workloads, names_and_styles, policies, files, lists, shared, values, no_images)
    return tuple(construct for part in parts for construct in part())
