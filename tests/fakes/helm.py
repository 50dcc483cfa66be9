"""A stand-in for helm where there is none, and a chart; both as small as can be."""

from __future__ import annotations

import base64
import io
import json
import shlex
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path

TEMPLATE = """\
apiVersion: v1
kind: Pod
metadata: {name: "{{ .Release.Name }}", namespace: "{{ .Release.Namespace }}"}
spec:
  containers:
  - name: a
    image: "extra.example/{{ .Values.image }}:1"
    env: [{name: VERSION, value: "{{ .Capabilities.KubeVersion.Version }}"}]
"""

_STAND_IN = """\
#!{python}
import json, pathlib, re, sys
argv = sys.argv[1:]
with open({log!r}, "a") as log:
    print(json.dumps(argv), file=log)
def after(flag, otherwise=""):
    return argv[argv.index(flag) + 1] if flag in argv else otherwise
if argv[0] == "version":
    print("v3.99.0+gstandin")
elif argv[0] == "pull":
    data = pathlib.Path({chart!r}).read_bytes()
    pathlib.Path(after("--destination"), "odd-1.2.3.tgz").write_bytes(data)
elif argv[0] == "template":
    values = after("--values")
    image = re.search("image: (.*)", pathlib.Path(values).read_text())[1] if values else "a"
    text = pathlib.Path({template!r}).read_text()
    values = {{
        "Release.Name": argv[1],
        "Release.Namespace": after("--namespace"),
        "Values.image": image,
        "Capabilities.KubeVersion.Version": "v" + after("--kube-version"),
    }}
    for name, value in values.items():
        text = text.replace("{{{{ ." + name + " }}}}", value)
    print("---\\n# Source: odd/templates/pod.yaml\\n" + text, end="")
"""


@cache
def chart() -> bytes:
    """Return the chart odd 1.2.3 as repositories serve it."""
    files = {
        "odd/Chart.yaml": "apiVersion: v2\nname: odd\nversion: 1.2.3\n",
        "odd/values.yaml": "image: a\n",
        "odd/templates/pod.yaml": TEMPLATE,
    }
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return target.getvalue()


def index() -> bytes:
    """Return the index.yaml of a repository that has the chart beside it."""
    entry = {"apiVersion": "v2", "name": "odd", "version": "1.2.3", "urls": ["odd-1.2.3.tgz"]}
    return json.dumps({"apiVersion": "v1", "entries": {"odd": [entry]}}).encode()


def stand_in(folder: Path) -> Path:
    """Write a program helm into ``folder`` and return the file in which it notes its arguments."""
    log, packed, template = (folder / name for name in ("argv", "chart.tgz", "template"))
    packed.write_bytes(chart())
    template.write_text(TEMPLATE)
    text = _STAND_IN.format(
        python=sys.executable, log=str(log), chart=str(packed), template=str(template)
    )
    return _program(folder, text, log)


def wrapped(folder: Path, program: str) -> Path:
    """Write a helm that notes its arguments and goes on as ``program``."""
    log = folder / "argv"
    text = (
        "#!/bin/sh\n"
        f'{shlex.quote(sys.executable)} -c "import json,sys; print(json.dumps(sys.argv[1:]))" '
        f'"$@" >>{shlex.quote(str(log))}\n'
        f'exec {shlex.quote(program)} "$@"\n'
    )
    return _program(folder, text, log)


def push(folder: Path, program: str, url: str, user: str, password: str) -> None:
    """Put the chart into a registry, as ``team/odd``, with the real helm."""
    packed = folder / "odd-1.2.3.tgz"
    packed.write_bytes(chart())
    place = url.removeprefix("http://")
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    login = folder / "login.json"
    login.write_text(json.dumps({"auths": {place: {"auth": auth}}}))
    command = [program, "push", str(packed), f"oci://{place}/team", "--plain-http"]
    subprocess.run([*command, "--registry-config", str(login)], check=True, capture_output=True)


def _program(folder: Path, text: str, log: Path) -> Path:
    path = folder / "helm"
    path.write_text(text)
    path.chmod(0o755)
    return log
