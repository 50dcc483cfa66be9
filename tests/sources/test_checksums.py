from __future__ import annotations

import contextlib
import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.sources.checksums import MAX_SIZE, Checksum, ChecksumFile, parse

PLACE = "https://example.org/SHA256SUMS"
ONE = hashlib.sha256(b"one").hexdigest()
TWO = hashlib.sha256(b"two").hexdigest()
LONG = hashlib.sha512(b"one").hexdigest()

CLEAR_SIGNED = f"""-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

{ONE}  runc.amd64
{TWO} *runc.arm64
-----BEGIN PGP SIGNATURE-----

iQIzBAEBCgAdFiEE
=AbCd
-----END PGP SIGNATURE-----
"""


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        (ONE, "bare"),
        (ONE + "\n", "bare"),
        (ONE.upper() + "\r\n", "bare"),
        ("\ufeff" + ONE + "\n", "bare"),
        (f"\n  {ONE}  \n\n", "bare"),
        (f"{ONE}  kubelet\n", "gnu"),
        (f"{ONE} kubelet\n", "gnu"),
        (f"{ONE} *kubelet", "gnu"),
        (f"{ONE}\tkubelet\n", "gnu"),
        (f"{ONE.upper()}  kubelet\r\n{TWO}  kubeadm\r\n", "gnu"),
        (f"{TWO}  kubeadm\n{ONE}  ./kubelet\n", "gnu"),
        (f"{TWO}  kubelet.sig\n{ONE}  _output/bin/kubelet", "gnu"),
        (f"# made by hand\n{ONE}  kubelet\n", "gnu"),
        (f"SHA256 (kubelet) = {ONE}\nSHA512 (kubelet) = {LONG}\n", "bsd"),
        (f"SHA2-256(kubelet)= {ONE}\n", "bsd"),
        (f"SHA256 (a (copy) of) = {TWO}\nSHA256 (kubelet) = {ONE.upper()}\r\n", "bsd"),
        (f"SHA256 (kubelet) = {ONE}\n{TWO}  kubeadm\n", "mixed"),
    ],
)
def test_every_dialect_gives_the_digest(text: str, dialect: str) -> None:
    listed = parse(text.encode(), place=PLACE)
    assert listed.sha256_for("kubelet") == Digest.from_hex(ONE)
    assert listed.dialect == dialect


def test_a_clear_signed_document_gives_its_entries_and_says_that_it_was_signed() -> None:
    listed = parse(CLEAR_SIGNED.encode(), place=PLACE)
    assert listed.sha256_for("runc.amd64").hex == ONE
    assert listed.sha256_for("runc.arm64").hex == TWO
    assert listed.dialect == "clear-signed gnu"


def test_an_escaped_dash_of_a_clear_signed_document_is_taken_back() -> None:
    signed = CLEAR_SIGNED.replace(f"{ONE}  runc.amd64", f"- {ONE}  runc.amd64")
    assert parse(signed.encode(), place=PLACE).sha256_for("runc.amd64").hex == ONE


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (f"{TWO}  evil\n{CLEAR_SIGNED}", "line 1"),
        (f"{CLEAR_SIGNED}{TWO}  evil\n", "line 11"),
        (f"{CLEAR_SIGNED}{CLEAR_SIGNED}", "line 11"),
    ],
)
def test_text_that_nobody_signed_is_refused_beside_text_that_is_signed(
    document: str, line: str
) -> None:
    with pytest.raises(IntegrityError, match=f"{line}: .* outside the signed part"):
        parse(document.encode(), place=PLACE)


def test_a_clear_signed_document_cut_short_is_refused() -> None:
    with pytest.raises(IntegrityError, match="without its end"):
        parse(CLEAR_SIGNED[:-40].encode(), place=PLACE)


def test_sha256_is_preferred_and_sha512_alone_is_offered_as_such() -> None:
    both = parse(f"{LONG}  kubelet\n{ONE}  kubelet\n".encode(), place=PLACE)
    assert both.checksum_for("kubelet") == Checksum("sha256", ONE)
    alone = parse(f"{LONG.upper()}  runsc\n".encode(), place=PLACE)
    assert alone.checksum_for("runsc") == Checksum("sha512", LONG)
    with pytest.raises(InputError, match="expected a sha256 of runsc, got only sha512"):
        alone.sha256_for("runsc")


@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_broken_algorithms_alone_are_refused_by_name(algorithm: str) -> None:
    digits = hashlib.new(algorithm, b"one").hexdigest()
    with pytest.raises(InputError, match=f"got only {algorithm}"):
        parse(f"{digits}  kubelet\n".encode(), place=PLACE).sha256_for("kubelet")
    with pytest.raises(InputError, match=f"got only {algorithm}"):
        parse(digits.encode(), place=PLACE).checksum_for("kubelet")


def test_a_name_without_an_entry_is_refused_with_the_nearest_name() -> None:
    listed = parse(f"{ONE}  etcd-v3.6.5-linux-arm64.tar.gz\n{TWO}  x\n".encode(), place=PLACE)
    with pytest.raises(InputError, match=r"expected an entry for etcd-v3\.6\.5-linux-am") as caught:
        listed.sha256_for("etcd-v3.6.5-linux-amd64.tar.gz")
    assert caught.value.hint == "did you mean etcd-v3.6.5-linux-arm64.tar.gz?"


def test_two_different_sums_for_one_name_are_refused() -> None:
    listed = parse(f"{ONE}  kubelet\n{TWO}  kubelet\n".encode(), place=PLACE)
    with pytest.raises(IntegrityError, match="2 different sha256 sums for kubelet"):
        listed.sha256_for("kubelet")


def test_the_same_sum_twice_is_no_contradiction() -> None:
    listed = parse(f"{ONE}  kubelet\nSHA256 (./kubelet) = {ONE}\n".encode(), place=PLACE)
    assert listed.sha256_for("kubelet").hex == ONE


def test_folders_tell_files_of_one_name_apart() -> None:
    listed = parse(f"{ONE}  ./amd64/kubelet\n{TWO}  arm64/kubelet\n".encode(), place=PLACE)
    assert listed.sha256_for("arm64/kubelet").hex == TWO
    with pytest.raises(IntegrityError, match="2 different"):
        listed.sha256_for("kubelet")


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE}  -\n",
        f"SHA2-256(stdin)= {ONE}\n",
        f"(stdin)= {ONE}\n",
        f"sha256:{ONE}\r\n",
        f"SHA256:{ONE.upper()}  tool\n",
        f"\\{ONE}  dist\\\\tool\n",
        f"{ONE} *dist/tool\r\n{TWO} *dist/tool.exe\r\n",
    ],
)
def test_sums_of_a_pipe_with_prefixes_and_escapes_are_understood(text: str) -> None:
    assert parse(text.encode(), place=PLACE).sha256_for("/r/tool").hex == ONE


@pytest.mark.parametrize(
    ("paths", "address"),
    [
        (("linux/arm64/tool", "linux/amd64/tool"), "/r/bin/linux/amd64/tool"),
        (
            (
                "/workspace/_output/gcs-stage/r/bin/linux/arm64/tool",
                "/workspace/_output/gcs-stage/r/bin/linux/amd64/tool",
            ),
            "/r/bin/linux/amd64/tool",
        ),
        (("./arm64/tool", "./amd64/tool"), "/x/amd64/tool"),
        (("*bin/arm64/tool".removeprefix("*"), "bin//amd64/./tool"), "/amd64/tool"),
        ((r"dist\arm64\tool", r"dist\amd64\tool"), "/dist/amd64/tool"),
        (("old/amd64/tool", "amd64/tool"), "/new/amd64/tool"),
        (("arm64/tool", "tool"), "/x/tool"),
        (("tool", "/out/amd64/tool"), "/amd64/tool"),
        (("other", "tool"), "/anything/at/all/tool"),
        (("amd64/tool.sig", "tool"), "/amd64/tool"),
        (("v1%2B1/tool", "v1+2/tool"), "/v1%2B2/tool"),
    ],
)
def test_the_entry_whose_path_fits_the_address_furthest_counts(
    paths: tuple[str, str], address: str
) -> None:
    other, wanted = paths
    sums = {other: ONE, wanted: TWO}
    assert listing(sums).sha256_for(address).hex == TWO
    bsd = "".join(f"SHA256 ({path}) = {digits.upper()}\r\n" for path, digits in sums.items())
    assert parse(bsd.encode(), place=PLACE).sha256_for(address).hex == TWO


def listing(sums: dict[str, str]) -> ChecksumFile:
    """A file as ``sha256sum -b`` writes it."""
    text = "".join(f"{digits} *{path}\n" for path, digits in sums.items())
    return parse(text.encode(), place=PLACE)


def test_a_name_that_is_quoted_in_the_address_is_found() -> None:
    listed = parse(f"{ONE}  rke2-v1.34.1+rke2r1\n{TWO}  x\n".encode(), place=PLACE)
    assert listed.sha256_for("rke2-v1.34.1%2Brke2r1").hex == ONE


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"<!DOCTYPE html>\n<title>Sign in</title>", "an HTML page"),
        (b"\n <HTML><body>404</body></HTML>", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an HTML page"),
        (b"", "nothing"),
        (b"\r\n\n# only a remark\n", "nothing"),
        (f"{ONE}\n{TWO}\n".encode(), "2 lines, some without a file name"),
        (f"{ONE}\n{TWO}  kubelet\n".encode(), "2 lines, some without a file name"),
        (ONE[:-1].encode(), "63 hexadecimal digits"),
        (f"{ONE}0  kubelet".encode(), "65 hexadecimal digits"),
        (f"SHA512 (kubelet) = {ONE}".encode(), "SHA512 with 64 digits"),
        (b"404: Not Found", "14 characters of something else"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "binary data at byte 8"),
        (f"{ONE}  kube\x00let".encode(), "control characters"),
        (f"{ONE}  a\r{TWO}  b".encode(), "control characters"),
        (ONE.encode("utf-16"), "binary data"),
    ],
)
def test_what_is_no_checksum_file_is_refused_with_what_it_looks_like(data: bytes, got: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse(data, place=PLACE)
    assert PLACE in str(caught.value)
    assert got in str(caught.value)


def test_a_line_that_is_not_understood_is_named_by_its_number() -> None:
    with pytest.raises(IntegrityError, match=r"line 3: .* got 4 characters"):
        parse(f"{ONE}  a\n{TWO}  b\noops\n".encode(), place=PLACE)


def test_a_whole_download_in_place_of_its_checksum_is_refused_by_size() -> None:
    with pytest.raises(IntegrityError, match=f"at most {MAX_SIZE} bytes, got {MAX_SIZE + 1}"):
        parse(b" " * (MAX_SIZE + 1), place=PLACE)


names = st.text(string.ascii_letters + string.digits + "._-+()", min_size=1, max_size=30).filter(
    lambda name: name not in {".", "-"}  # a folder; a pipe, which has no name
)
listings = st.dictionaries(
    names, st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=8
)
gnu = st.sampled_from(["{sum}  {name}", "{sum} {name}", "{sum} *{name}", "{sum}  ./{name}"])
bsd = st.sampled_from(["SHA256 ({name}) = {sum}", "SHA256(./{name})= {sum}"])


@given(
    listing=listings,
    form=st.one_of(gnu, bsd),
    upper=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    mark=st.booleans(),
    signed=st.booleans(),
)
def test_what_is_written_in_any_form_is_read_back(
    listing: dict[str, str], form: str, upper: bool, end: str, last: bool, mark: bool, signed: bool
) -> None:
    lines = [
        form.format(sum=sum_.upper() if upper else sum_, name=name)
        for name, sum_ in listing.items()
    ]
    if signed:
        before, after = CLEAR_SIGNED.split(f"{ONE}  runc.amd64\n{TWO} *runc.arm64\n")
        lines = [*before.strip("\n").split("\n"), "", *lines, *after.strip("\n").split("\n")]
    text = ("\ufeff" if mark else "") + end.join(lines) + (end if last else "")
    listed = parse(text.encode(), place=PLACE)
    assert {name: listed.sha256_for(name).hex for name in listing} == listing


@given(st.binary(max_size=400))
def test_no_bytes_at_all_lead_to_another_error(data: bytes) -> None:
    with contextlib.suppress(InputError, IntegrityError):
        parse(data, place=PLACE).sha256_for("kubelet")
