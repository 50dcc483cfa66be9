from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.formats.oci import OCI_LAYER, Descriptor
from isobuilder.model.trust.claims import LockedTrust, SignatureClaim
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.compare import IsoFiles
from isobuilder.report.page import report
from isobuilder.report.rendering import fitting
from isobuilder.report.subject import PageSubject, before, read_beside, read_iso, read_lock
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
from tests.iso.makers import entry, iso_of
from tests.pipeline.world import Locked, run_cli
from tests.report.reading import Element, read_page, tables

HANGUL = re.compile("[가-힣]")


@pytest.fixture(scope="module")
def subject(built: Built) -> PageSubject:
    return read_iso(built.iso)


@pytest.fixture(scope="module")
def page(subject: PageSubject) -> Element:
    return read_page(report(subject))


@pytest.mark.parametrize(
    ("label", "room", "shown"),
    [
        ("pause:3.10.1", 140, "pause:3.10.1"),
        ("SHA256SUMS", 86, "SHA256…"),
        ("lllllllll", 76, "lllllllll"),
        ("MMMMMMMMM", 76, "MMM…"),
        ("운영 서버", 66, "운영 …"),
        ("kubelet", 40, "k…"),
    ],
)
def test_a_label_of_a_drawing_stays_inside_of_its_tile(label: str, room: int, shown: str) -> None:
    assert fitting(label, room) == shown


@pytest.fixture
def copied(built: Built, tmp_path: Path) -> Path:
    """The ISO and its side files, to be changed."""
    for path in (built.iso, *built.side_files):
        shutil.copy(path, tmp_path)
    return tmp_path / built.iso.name


def section(page: Element, name: str) -> Element:
    return page.find("section", aria_labelledby=name)[0]


# --- what it tells ---


def test_a_page_tells_what_the_iso_is(page: Element, built: Built) -> None:
    card = page.find("div", class_="card")[0].shown("en")
    assert page.find("h1")[0].text == "Kubernetes 1.34.12"
    for fact in (f"{built.iso.name}", f"{built.size:,} bytes", "1.34.12+mold-cks.r1", "2026-10-27"):
        assert fact in card
    assert page.find("dd", class_="digits")[0].text == built.digest.hex


def test_every_file_is_there_with_its_digest_and_size(page: Element, built: Built) -> None:
    [table] = tables(section(page, "files"))
    told = json.loads(call("inspect", built.iso, "--json").stdout)["files"]
    assert [row[0] for row in table[1:]] == [item["path"] + (item["digest"] or "") for item in told]
    assert all(re.fullmatch(r"[0-9.]+ [KMG]?i?B", row[1]) for row in table[1:])


def test_layers_are_told_apart_into_alone_and_shared(subject: PageSubject) -> None:
    first, second, *_ = subject.layers
    shared = Descriptor(OCI_LAYER, Digest.of(b"shared"), 1000)
    own = Descriptor(OCI_LAYER, Digest.of(b"own"), 24)
    changed = replace(subject, layers={first: (shared, own, own), second: (shared,)})
    images = section(read_page(report(changed)), "images")
    rows = {row[0].partition("sha256:")[2]: row for row in tables(images)[0]}
    hexes = [archive.removeprefix("docker/").removesuffix(".tar") for archive in (first, second)]
    assert rows[hexes[0]][1:4] == ["2", "24 B", "1000 B"]
    assert rows[hexes[1]][1:4] == ["1", "0 B", "1000 B"]
    assert "A node keeps 1.0 KiB of layers; without shared ones it would be 2.0 KiB." in (
        images.shown("en")
    )
    [[_, row]] = tables(images)[1:]
    assert row[0].endswith(str(shared.digest))
    assert row[1] == "1000 B"


def test_the_layers_are_those_in_the_archives(subject: PageSubject) -> None:
    manifest = subject.manifest
    assert manifest is not None
    assert subject.layers.keys() == {image.path for image in manifest.images}
    for image in manifest.images:
        assert 0 < sum(layer.size for layer in subject.layers[image.path]) < image.size


def test_a_node_is_played_and_what_it_stumbles_over_is_told(
    subject: PageSubject, page: Element
) -> None:
    assert subject.findings == ()
    assert "would create a cluster from it" in section(page, "contract").shown("en")
    from isobuilder.model.finding import Finding

    found = Finding(rule="A.9.provider", place="provider.yaml", fact="missing", remedy="add it")
    told = section(read_page(report(replace(subject, findings=(found,)))), "contract")
    assert tables(told)[0][1] == ["error A.9.provider", "provider.yaml", "missing; add it"]
    assert not told.find("p", class_="good")


def test_evidence_says_where_each_digest_is_from(page: Element, locked: Locked) -> None:
    rows = tables(section(page, "evidence"))[0][1:]
    paths = [one.path for one in locked.lock.files]
    paths += [one.path for one in locked.lock.manifests]
    assert [row[0] for row in rows] == sorted(paths)
    kubeadm = next(row for row in rows if row[0] == "k8s/kubeadm")
    assert kubeadm[1].startswith("upstream's checksum file")


def test_what_was_found_of_signatures_is_told(subject: PageSubject, locked: Locked) -> None:
    [image, *_] = locked.lock.images
    claim: dict[str, object] = {
        "subject": "kubeadm",
        "what": "files",
        "path": "k8s/kubeadm",
        "policy": "ours",
        "sha256": Digest.of(b"x"),
        "url": "https://x.example/k",
        "status": "unsigned",
        "why": "no <b>signature</b> there",
    }
    other = {"subject": image.reference, "what": "images", "path": image.archive}
    told = LockedTrust.model_construct(
        kubernetes=locked.lock.kubernetes,
        policies={},
        claims=(
            SignatureClaim.model_validate(claim),
            SignatureClaim.model_validate(claim | other | {"status": "excepted"}),
        ),
    )
    lock = locked.lock.model_copy(update={"trust": told})
    evidence = section(read_page(report(replace(subject, lock=lock))), "evidence")
    files, images = tables(evidence)
    kubeadm = next(row for row in files if row[0] == "k8s/kubeadm")
    assert kubeadm[2] == "unsignedours: no <b>signature</b> there"
    assert images[1][0] == image.reference
    assert images[1][1].startswith("exceptedours")


def test_commands_are_for_a_shell_and_name_this_iso(page: Element, built: Built) -> None:
    commands = [one.text for one in section(page, "use").find("code")]
    assert f"sha256sum {built.iso.name}" in commands
    assert any(text.startswith(f"isobuilder mold register {built.iso.name}") for text in commands)
    assert not any("boot" in text.split()[:2] for text in commands)  # a plain ISO starts nothing


def test_the_page_of_a_lock_says_that_it_is_not_built(locked: Locked) -> None:
    page = read_page(report(read_lock(locked.path)))
    text = page.shown("en")
    assert "locked, not built" in text
    assert "known once it is built" in text
    assert page.find("dd", class_="digits")[0].text == locked.lock.digest.hex
    assert f"isobuilder build {locked.path.name}" in text
    assert "No node was played" in text


def test_an_iso_of_another_builder_has_a_page_too(tmp_path: Path) -> None:
    iso_of([entry("k8s/kubeadm", b"x"), entry("network.yaml", b"kind: Pod\n")], tmp_path / "o.iso")
    done = call("report", tmp_path / "o.iso")
    page = read_page(Path(done.stdout.strip()).read_bytes())
    assert page.find("h1")[0].text == "Kubernetes unknown"
    assert [row[0][:12] for row in tables(section(page, "files"))[0][1:]] == [
        "k8s/kubeadms",
        "network.yaml",
    ]


# --- the ISO before it ---


@pytest.fixture
def second(locked: Locked, full_store: Store, copied: Path) -> Path:
    """Another revision beside the first."""
    done = call(
        *("build", locked.path, "--offline", "--store", full_store.root),
        *("--out", copied.parent, "--revision", "r2"),
    )
    return Path(done.stdout.strip())


def test_the_page_says_what_changed_since_the_iso_before_it(second: Path) -> None:
    page = read_page(second.with_name(f"{second.stem}.report.html").read_bytes())
    changes = section(page, "changes")
    assert "Since kubernetes-v1.34.12-mold-cks-amd64-r1." in changes.shown("en")
    rows = {row[0]: row[1:3] for row in tables(changes)[0][1:]}
    assert rows["revision"] == ["1", "2"]
    assert rows["product version"] == ["1.34.12+mold-cks.r1", "1.34.12+mold-cks.r2"]


@pytest.mark.parametrize(
    ("name", "is_before"),
    [
        ("kubernetes-v1.34.9-mold-cks-amd64-r7", True),
        ("kubernetes-v1.33.40-mold-cks-amd64-r1", True),
        ("kubernetes-v1.34.12-mold-cks-amd64-r3", False),
        ("kubernetes-v1.35.0-mold-cks-amd64-r1", False),
        ("kubernetes-v1.34.9-mold-cks.gpu-amd64-r1", False),
        ("kubernetes-v1.34.9-mold-cks-arm64-r1", False),
        ("kubernetes-v1.34.x-mold-cks-amd64-r1", False),
    ],
)
def test_before_is_the_newest_older_iso_of_the_same_kind(
    copied: Path, name: str, is_before: bool
) -> None:
    shutil.copy(copied.with_suffix(".manifest.json"), copied.with_name(f"{name}.manifest.json"))
    copied.with_name("kubernetes-v1.2.3-mold-cks-amd64-r1.manifest.json").write_text("damaged")
    found = before(copied.parent, "kubernetes-v1.34.12-mold-cks-amd64-r2")
    others = [copied.name]  # revision 1 of the same version is nearer than any older version
    copied.with_suffix(".manifest.json").unlink()
    alone = before(copied.parent, "kubernetes-v1.34.12-mold-cks-amd64-r2")
    assert found is not None
    assert found.source.name in others
    assert (alone is not None and alone.source.name == f"{name}.iso") is is_before


def test_a_size_that_nobody_knows_is_no_growth(subject: PageSubject) -> None:
    older = replace(subject.contents, files={"a": "sha256:0"}, images={}, sizes={})
    newer = replace(subject.contents, files={"a": "sha256:1"}, images={}, sizes={"a": 5})
    page = read_page(report(replace(subject, before=older, contents=newer)))
    assert tables(section(page, "changes"))[0][1] == ["a", "sha256:0", "sha256:1", ""]


# --- two languages ---


def test_every_text_is_there_in_both_languages(page: Element, locked: Locked) -> None:
    for one in (page, read_page(report(read_lock(locked.path), language="ko"))):
        body = one.find("body")[0]
        spans = [span for span in body.find("span") if "lang" in span.attributes]
        assert [span.attributes["lang"] for span in spans] == ["en", "ko"] * (len(spans) // 2)
        for english, korean in zip(spans[::2], spans[1::2], strict=True):
            assert english.text.strip(), korean.text
            assert HANGUL.search(korean.text), korean.text
            assert not HANGUL.search(english.text)


def test_no_english_is_left_when_korean_is_read(page: Element) -> None:
    def without_data(element: Element) -> Element:
        kept = [
            without_data(child) if isinstance(child, Element) else child
            for child in element.children
            if isinstance(child, str)
            or child.name not in {"code", "td", "dd", "small", "svg", "bdi"}
        ]
        return replace(element, children=kept)

    text = re.sub(r"\S*[0-9]\S*", "", without_data(page.find("main")[0]).shown("ko"))
    words = set(re.findall("[A-Za-z][A-Za-z.-]+", text))
    names = {*("Kubernetes", "ISO", "CNI", "QR", "UTC", "isobuilder", "verify", "mold-cks")}
    assert words <= names | {"KiB", "MiB", "crictl", "etcd"}


def test_lang_chooses_the_language_that_is_shown_first(built: Built, tmp_path: Path) -> None:
    call("report", built.iso, "-o", tmp_path / "ko.html", "--lang", "ko")
    page = read_page((tmp_path / "ko.html").read_bytes())
    assert page.find("html")[0].attributes["lang"] == "ko"
    assert [one.attributes["id"] for one in page.find("input") if "checked" in one.attributes] == [
        "lang-ko"
    ]


# --- hostile texts ---

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--></style></title></svg><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066\u200b\ufeff",
    "a\x00b\x1b[31m\r\n\udce4",
    "&lt;b&gt;&#60;",
    "x" * 5000,
    "$(reboot); `reboot` 'a' \"b\"",
]


def hostile_subject(text: str) -> PageSubject:
    contents = IsoFiles(
        source=Path(f"{text}.iso".replace("/", "_").replace("\0", "")),
        kind="iso",
        facts=dict.fromkeys(
            ("kubernetes", "profile", "architecture", "revision", "product version"), text
        ),
        files={text: text, f"docker/{text}": text},
        sizes={text: 5000, f"docker/{text}": 3},
        images={text: text},
        releases={text: text},
        label=text,
    )
    older = replace(contents, facts={}, files={}, releases={})
    return PageSubject(text, contents, Digest.of(text.encode("utf-8", "replace")), 5, before=older)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_of_a_stranger_acts_on_a_page(text: str, page: Element) -> None:
    data = report(hostile_subject(text))
    found = read_page(data)
    ours = {one.name for one in page.walk()} | {"ul", "li"}
    assert {one.name for one in found.walk()} <= ours
    names = {name for one in found.walk() for name in one.attributes}
    assert not {name for name in names if name.startswith("on") or name in {"style", "src"}}
    assert all(one.attributes["href"].startswith("#") for one in found.find("a"))
    assert not re.search(
        "[\u0000-\u0009\u000b-\u001f\u200b\u202a-\u202e\u2066-\u2069\ufeff]", (data.decode())
    )
    assert len(data) < 100_000
    codes = [one.text for one in section(found, "use").find("code")]
    assert not any(re.search(r"\$\(reboot\)", re.sub(r"'[^']*'", "", one)) for one in codes)


def test_a_page_allows_itself_nothing_but_its_own_style(page: Element) -> None:
    [policy] = page.find("meta", http_equiv="Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'; style-src 'sha256-")
    assert not page.find("script")
    assert not page.find("link")
    assert not [one for one in page.walk() if {"src", "style"} & one.attributes.keys()]


def test_ten_thousand_files_are_a_page_that_opens(subject: PageSubject) -> None:
    files = {
        f"k8s/{'directory/' * 10}{number:05}": f"sha256:{number:064}" for number in range(10_000)
    }
    sizes = dict.fromkeys(files, 4096)
    contents = replace(subject.contents, files=files, sizes=sizes)
    data = report(replace(subject, contents=contents))
    assert len(data) < 500_000
    found = section(read_page(data), "files")
    assert len(tables(found)[0]) == 1001
    assert "9000 more are not shown here." in found.shown("en")


# --- one file, the same bytes ---


def test_a_page_is_small_and_needs_nothing(built: Built) -> None:
    data = report(read_iso(built.iso))
    assert len(data) < 150_000
    assert not re.search(rb"url\(|@import|src=", data)


def test_the_same_iso_gives_the_same_page_everywhere(copied: Path, tmp_path: Path) -> None:
    pages = []
    for number, env in enumerate(
        (
            {"PYTHONHASHSEED": "1", "TZ": "Asia/Seoul", "LC_ALL": "ko_KR.UTF-8", "HOME": "/"},
            {"PYTHONHASHSEED": "2", "TZ": "America/Lima", "LC_ALL": "C"},
        )
    ):
        folder = tmp_path / f"place {number}"
        folder.mkdir()
        for path in sorted(copied.parent.glob(f"{copied.stem}.*"), reverse=bool(number)):
            shutil.copy(path, folder)
        run_cli("report", folder / copied.name, env=env, cwd=folder)
        pages.append((folder / f"{copied.stem}.report.html").read_bytes())
    assert pages[0] == pages[1]
    assert str(tmp_path).encode() not in pages[0]


def test_ids_are_unique_and_what_is_named_is_there(page: Element) -> None:
    ids = [one.attributes["id"] for one in page.walk() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    wanted = {one.attributes["href"][1:] for one in page.find("a")}
    for one in page.walk():
        wanted |= set(one.attributes.get("aria-labelledby", "").split())
    assert wanted <= set(ids)


# --- the commands ---


def test_build_writes_the_page_and_leaves_it_where_nothing_changed(
    locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    build = ("build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path)
    [told] = json.loads(call(*build, "--json").stdout)
    page = next(Path(name) for name in told["side_files"] if name.endswith(".report.html"))
    first = page.read_bytes()
    assert first == report(read_iso(Path(told["iso"])))
    page.write_text("mine")
    call(*build)
    assert page.read_text() == "mine"
    page.unlink()
    call(*build)
    assert page.read_bytes() == first


def test_a_version_that_is_shipped_has_a_page_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("report", "1.36.5")
    assert read_page(Path(done.stdout.strip()).read_bytes()).find("h1")[0].text == (
        "Kubernetes 1.36.5"
    )
    assert [path.name for path in tmp_path.glob("*.html")] == [done.stdout.strip()]


def test_an_iso_that_is_not_what_lies_beside_it_has_no_page(copied: Path) -> None:
    with copied.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"x")
    done = call("report", copied, code=5)
    assert "the checksum file beside it says" in errors(done)[0]
    assert not list(copied.parent.glob("*.html"))


def test_a_lock_of_another_iso_is_refused(copied: Path, locked: Locked) -> None:
    other = locked.lock.model_copy(update={"revision": 9})
    copied.with_suffix(".lock.json").write_bytes(other.to_bytes())
    done = call("report", copied, code=3)
    assert f"is {other.digest}, the manifest names sha256:" in errors(done)[0]
    assert hints(done)


def test_a_registration_of_another_version_is_refused(copied: Path) -> None:
    path = copied.with_suffix(".registration.json")
    path.write_text(path.read_text().replace('"1.34.12"', '"1.34.13"'))
    with pytest.raises(InputError, match=r"is of 1\.34\.13, the manifest beside it of 1\.34\.12"):
        read_beside(copied.parent, copied.stem)


def test_a_recipe_has_no_page(world: object, locked: Locked) -> None:
    recipe = next(locked.path.parent.glob("*.yaml"))
    assert "expected an ISO or a lock, got a recipe" in errors(call("report", recipe, code=3))[0]


def test_what_lies_beside_an_iso_is_enough(copied: Path, subject: PageSubject) -> None:
    copied.unlink()
    found = read_beside(copied.parent, copied.stem)
    assert (found.digest, found.size) == (subject.digest, subject.size)
    assert found.contents.files == subject.contents.files
    assert found.contents.sizes.items() <= subject.contents.sizes.items()
    assert (
        section(read_page(report(found)), "contract")
        .shown("en")
        .startswith("Node contract No node was played")
    )
