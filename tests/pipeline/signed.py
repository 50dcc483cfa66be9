"""Keys made by openssl, and ISOs that were signed, for tests."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isobuilder.digest import Digest
from isobuilder.medium import SIDE_FILES
from isobuilder.pipeline.build import Built
from isobuilder.trust.dsse import IN_TOTO, pae
from isobuilder.trust.signature import bundle_bytes
from isobuilder.trust.signers import open_signer
from isobuilder.trust.statement import statement_bytes


def openssl(*words: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["openssl", *map(str, words)], check=True, capture_output=True, input=stdin
    ).stdout


def new_key(folder: Path, name: str, curve: str = "P-256", password: str | None = None) -> Path:
    """Make ``name.pem`` and ``name.pub``."""
    private = folder / f"{name}.pem"
    words = ["-aes256", "-pass", f"pass:{password}"] if password else []
    option = ["-pkeyopt", f"ec_paramgen_curve:{curve}"]
    openssl("genpkey", "-algorithm", "EC", *option, *words, "-out", private)
    given = ["-passin", f"pass:{password}"] if password else []
    openssl("pkey", "-in", private, *given, "-pubout", "-out", private.with_suffix(".pub"))
    return private


def copied(built: Built, folder: Path) -> Path:
    """Return the demo's ISO with its side files, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    for path in (built.iso, *built.side_files):
        shutil.copyfile(path, folder / path.name)
    assert len(built.side_files) == len(SIDE_FILES)
    return folder / built.iso.name


def bundle_of(iso: Path) -> Path:
    return iso.with_name(f"{iso.name.removesuffix('.iso')}.sigstore.json")


def statement_in(bundle: Path) -> dict[str, Any]:
    envelope = json.loads(bundle.read_bytes())["dsseEnvelope"]
    found: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return found


def resigned(bundle: Path, key: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the statement and sign it again with ``key``, by openssl."""
    statement = statement_in(bundle)
    change(statement)
    payload = json.dumps(statement).encode()
    signed = bundle.with_suffix(".pae")
    signed.write_bytes(pae(IN_TOTO, payload))
    signature = openssl("dgst", "-sha256", "-sign", key, signed)
    signed.unlink()
    data = json.loads(bundle.read_bytes())
    data["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    data["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    bundle.write_text(json.dumps(data))


def altered(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the bundle and sign nothing again."""
    data = json.loads(bundle.read_bytes())
    change(data)
    bundle.write_text(json.dumps(data))


def put_signature(iso: Path, digest: Digest, key: Path, builder: str = "https://a.example") -> Path:
    """Write the signature of an ISO of which only name and digest are known."""
    said = {"runDetails": {"builder": {"id": builder}}}
    statement = statement_bytes(iso.name, digest, {}, said)
    path = bundle_of(iso)
    path.write_bytes(bundle_bytes(statement, open_signer(str(key), {})))
    return path
