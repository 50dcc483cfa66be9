"""What proving signatures and telling what is inside cost: ``python -m bench.trust``.

One ISO of the lab, whose programs and images of Kubernetes are signed by a small Sigstore of the
tests: ``verify`` of it with and without ``--trust``, and ``sbom write`` beside Syft, which gets the
same archives of images as files. Nothing is noted from one run to the next. Commands take turns,
and each ratio is of one round.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import page, section
from bench.ground import PRODUCT, say
from bench.measure import Contender, Measured, clean_environment, in_turn, run
from isobuilder.digest import Digest
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.model.trust.claims import EVIDENCE, EvidenceFile, LockedTrust, SignatureClaim
from isobuilder.store import Store
from isobuilder.trust.evidence.bundle import write_bundle
from isobuilder.trust.evidence.policies import known_policies
from tests.fakes.signed_upstream import write_policies
from tests.fakes.sigstore import SmallSigstore, signed_text
from tools.lab.golang import Go, built
from tools.lab.place import HERE, lab_dir
from tools.lab.upstream import lab_upstream

PLAIN, TRUST = "verify", "verify --trust"
OURS, SYFT = "sbom write", "syft scan"
GOALS = ((TRUST, PLAIN, 1.3), (OURS, SYFT, 0.5))
_PROGRAMS = {"kubeadm", "kubelet", "kubectl"}


def main() -> int:
    """Return the exit code: 0 when everything could be measured."""
    parser = section.parser("bench.trust", __doc__, space="3 GB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipe", default="kubernetes-1.37.1", help="of the lab")
    options = parser.parse_args()
    return section.measured(
        page.TRUST,
        options,
        lambda folder: "\n".join(_lines(folder, options.recipe, options.rounds)),
    )


def _lines(work: Path, recipe: str, rounds: int) -> Iterator[str]:
    lab = lab_dir()
    scanners = built(lab, Go(lab / "go"), "scanners")
    environment = clean_environment(work / "home")
    iso = _signed_iso(work, recipe, environment)
    say("archives of images")
    archives = _archives(iso, work / "archives")
    verify: list[str | Path] = [PRODUCT, "verify", iso]
    judged: list[str | Path] = [
        "--trusted-root",
        work / "root.json",
        "--policies",
        work / "policies.yaml",
    ]
    store = work / "empty"

    def forget() -> None:
        shutil.rmtree(store, ignore_errors=True)

    bill = work / "bill.cdx.json"
    write: list[str | Path] = [PRODUCT, "sbom", "write"]
    contenders = [
        Contender(PLAIN, verify),
        Contender(TRUST, [*verify, "--trust", *judged]),
        Contender(OURS, [*write, iso, "-o", bill, "--store", store], forget),
        Contender(SYFT, ["/bin/sh", "-ec", _syft(scanners, archives, work)]),
    ]
    say(f"{rounds} rounds")
    found = in_turn(
        contenders,
        rounds,
        environment=environment | {"SYFT_CHECK_FOR_APP_UPDATE": "false"},
        log=work / "log",
    )
    yield (
        f"An ISO of {recipe}, {iso.stat().st_size / 1e9:.2f} GB with {len(archives)} images, "
        f"{_signed(iso)} signatures."
    )
    yield ""
    yield page.table(section.figures(found))
    yield ""
    yield page.table(_judged({one.name: one for one in found}), numbers=False)
    yield f"\n{section.load()}"


def _judged(found: dict[str, Measured]) -> Iterator[Sequence[str]]:
    yield ("Wall time of", "Goal", "Measured", "")
    for mine, theirs, limit in GOALS:
        ratio = found[mine].ratio("wall", found[theirs])
        met = "met" if ratio <= limit else "**not met**"
        yield (f"{mine} / {theirs}", f"{limit:.2f}x", f"{ratio:.2f}x", met)


def _syft(scanners: Path, archives: Sequence[Path], work: Path) -> str:
    return "\n".join(
        f"{shlex.quote(str(scanners / 'syft'))} scan -q oci-archive:{shlex.quote(str(archive))} "
        f"-o cyclonedx-json={shlex.quote(str(work / 'syft.json'))}"
        for archive in archives
    )


# --- the ISO ---


def _signed_iso(work: Path, recipe: str, environment: dict[str, str]) -> Path:
    store = Store(work / "store")
    source = work / f"{recipe}.yaml"
    shutil.copyfile(HERE / "recipes" / source.name, source)
    with lab_upstream(config=work / "config.yaml"):
        common: list[str | Path] = ["--store", store.root, "--config", work / "config.yaml"]
        lock_path = work / f"{recipe}.amd64.lock.json"
        _say_and_run([PRODUCT, "lock", source, *common], environment, work)
        _say_and_run([PRODUCT, "fetch", lock_path, *common], environment, work)
    sigstore = SmallSigstore()
    (work / "root.json").write_bytes(sigstore.root_data())
    write_policies(work / "policies.yaml")
    lock_path.write_bytes(_with_signatures(load_lock(lock_path), store, sigstore, work).to_bytes())
    out = work / "out"
    words: list[str | Path] = [PRODUCT, "build", lock_path, "--out", out, "--store", store.root]
    _say_and_run(words, environment, work)
    return next(out.glob("*.iso"))


def _say_and_run(words: Sequence[str | Path], environment: dict[str, str], work: Path) -> None:
    say(f"{words[1]}")
    run(Contender(str(words[1]), words), environment=environment, log=work / "log")


def _with_signatures(lock: Lock, store: Store, sigstore: SmallSigstore, work: Path) -> Lock:
    """Return the lock as if what it names had been signed when it was made."""
    policies = known_policies(work / "policies.yaml")
    claims = []
    for file in lock.files:
        if file.name in _PROGRAMS:
            bundle = write_bundle(sigstore.sign(file.sha256))
            texts = [_kept(store, "bundle", f"{file.name}.sigstore.json", bundle)]
            claims.append(_claim(file.name, "files", file.path, file.sha256, file.url, texts))
    for image in lock.images:
        if image.reference.startswith("registry.k8s.io/"):
            text = signed_text(image.digest, image.reference)
            bundle = write_bundle(sigstore.sign(Digest.of(text)))
            name = image.digest.hex[:12]
            texts = [
                _kept(store, "payload", f"{name}.signed.json", text),
                _kept(store, "bundle", f"{name}.sigstore.json", bundle),
            ]
            place = image.archive, image.digest, image.reference
            claims.append(_claim(image.reference, "images", *place, texts))
    trust = LockedTrust(
        kubernetes=lock.kubernetes,
        policies={"kubernetes": policies["kubernetes"]},
        claims=tuple(claims),
        folder="bench.evidence",
    )
    return lock.model_copy(update={"trust": trust})


def _kept(store: Store, kind: str, name: str, data: bytes) -> EvidenceFile:
    digest = store.add_bytes(data).digest
    told = {"kind": kind, "path": f"{EVIDENCE}/{name}", "sha256": digest, "size": len(data)}
    return EvidenceFile.model_validate(told)


def _claim(
    subject: str, what: str, path: str, digest: Digest, url: str, texts: Sequence[EvidenceFile]
) -> SignatureClaim:
    told = {"subject": subject, "what": what, "path": path, "sha256": digest, "url": url}
    more = {"policy": "kubernetes", "status": "signed", "evidence": tuple(texts)}
    return SignatureClaim.model_validate(told | more)


def _signed(iso: Path) -> int:
    with IsoReader(iso) as reader:
        return sum(path.endswith(".sigstore.json") for path in reader.files)


def _archives(iso: Path, folder: Path) -> list[Path]:
    """Return the archives of images on an ISO, as files."""
    folder.mkdir()
    found = []
    with IsoReader(iso) as reader:
        for path in sorted(reader.files):
            if path.startswith("docker/") and path.endswith(".tar"):
                target = folder / path.rpartition("/")[2]
                with reader.open(path) as file, target.open("wb") as out:
                    shutil.copyfileobj(file, out, 1 << 20)
                found.append(target)
    return found


if __name__ == "__main__":
    sys.exit(main())
