"""cosign, of any version, and the two directions in which it and we read each other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.trust.publickeys import read_keys
from isobuilder.trust.signed import check_signatures
from isobuilder.trust.statement import PROVENANCE
from tests.cli.calling import call
from tests.pipeline.signed import bundle_of, new_key
from tools.lab.place import lab_dir

KIND = "https://example/x"
_ROOTS = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
NO_ROOTS = json.dumps({"mediaType": _ROOTS, "tlogs": [], "certificateAuthorities": []})
"""What cosign is given to trust besides a key, or it asks the network for it."""


def cosigns() -> list[Path]:
    """Return every cosign of this machine: the installed one, and the lab's."""
    found = [shutil.which("cosign"), *map(str, lab_dir().glob("programs/*/cosign"))]
    return [Path(one) for one in found if one]


def run(program: Path, home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "COSIGN_PASSWORD": "lab"}
    return subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
        cwd=home,
    )


def assert_it_reads_ours(program: Path, iso: Path, key: Path, folder: Path) -> None:
    """cosign finds the signature beside the ISO good, and bad beside other bytes."""
    root = folder / "root.json"
    root.write_text(NO_ROOTS)
    other = folder / "other.iso"
    other.write_bytes(b"another ISO")
    for subject, good in ((iso, True), (other, False)):
        done = run(
            *(program, folder, "verify-blob-attestation", "--new-bundle-format"),
            *("--insecure-ignore-tlog", "--trusted-root", root, "--type", PROVENANCE),
            *("--key", key.with_suffix(".pub"), "--bundle", bundle_of(iso), subject),
        )
        assert (done.returncode == 0) == good, done.stderr


def assert_we_read_its(program: Path, iso: Path, key: Path, folder: Path) -> None:
    """What cosign attests of an ISO holds here, and of other bytes it does not."""
    name = f"from-{program.parent.name}"
    imported = run(
        *(program, folder, "import-key-pair", "--yes", "--key", key),
        *("--output-key-prefix", name),
    )
    assert imported.returncode == 0, imported.stderr
    (folder / "predicate.json").write_text("{}")
    newer = "use-signing-config" in run(program, folder, "attest-blob", "--help").stdout
    bundle = folder / f"{name}.sigstore.json"
    done = run(
        *(program, folder, "attest-blob", "--yes", "--key", f"{name}.key", "--type", KIND),
        *("--predicate", "predicate.json", "--new-bundle-format", "--tlog-upload=false"),
        *(["--use-signing-config=false"] if newer else []),
        *("--bundle", bundle, iso),
    )
    assert done.returncode == 0, done.stderr
    trusted = read_keys([key.with_suffix(".pub")])
    told = [(bundle.name, bundle.read_bytes())]
    (claim,) = check_signatures(told, trusted, Digest.of_file(iso)).claims
    assert claim.predicate == KIND
    assert not check_signatures(told, trusted, Digest.of(b"another")).claims
    call("verify", iso, "--key", key.with_suffix(".pub"), "--bundle", bundle)


def assert_both_read_each_other(programs: Sequence[Path], iso: Path, folder: Path) -> None:
    key = new_key(folder, "release")
    call("sign", iso, "--key", key)
    for program in programs:
        assert_it_reads_ours(program, iso, key, folder)
        assert_we_read_its(program, iso, key, folder)
