"""The vectors of the API's signature, computed with Java's URLEncoder and javax.crypto.Mac."""

from __future__ import annotations

import pytest

from isobuilder.mold.api.signing import SignatureAlgorithm, java_quote, sign, string_to_sign

KEY = "AkExampleKey0000000000000000000000000000000000000000000000000001"
SECRET = "SkExampleSecret00000000000000000000000000000000000000000000000002"
K = KEY.lower()

VECTORS: dict[str, tuple[dict[str, str], str, str, str]] = {
    "V1 plain read": (
        {"command": "listCapabilities", "response": "json", "apikey": KEY},
        f"apikey={K}&command=listcapabilities&response=json",
        "fdFUWyKRSVIfGliHjfUhCiSGY5c=",
        "DGtaHjfWQGAOlHJ2E7ZSf+0xx39phWa0wBUBSnOhHFg=",
    ),
    "V2 every awkward character": (
        {
            "command": "listIsos",
            "response": "json",
            "apikey": KEY,
            "isofilter": "all",
            "name": "a b+c*d~e[f]/g%h",
        },
        f"apikey={K}&command=listisos&isofilter=all"
        "&name=a%20b%2bc*d%7ee%5bf%5d%2fg%25h&response=json",
        "p4tAGhqaKe0DC3VOsI0b9JOcLwY=",
        "4uyfa1MLVzICisCzjMTCyUt2vsQmQoUXXHB4FpH5eJw=",
    ),
    "V3 Korean": (
        {
            "command": "listKubernetesSupportedVersions",
            "response": "json",
            "apikey": KEY,
            "keyword": "쿠버네티스 1.34 운영",
        },
        f"apikey={K}&command=listkubernetessupportedversions"
        "&keyword=%ec%bf%a0%eb%b2%84%eb%84%a4%ed%8b%b0%ec%8a%a4%201.34%20%ec%9a%b4%ec%98%81"
        "&response=json",
        "mKKzLS5WeCV2OCrudpebZqLpbcY=",
        "AkjrIExb8Hb8uz+ON6zRteyjY8d7WBPzujnFTVXonrQ=",
    ),
    "V4 full registration with expiry": (
        {
            "command": "addKubernetesSupportedVersion",
            "response": "json",
            "apikey": KEY,
            "name": "v1.34.12 [운영] a+b~c*",
            "semanticversion": "1.34.12",
            "arch": "x86_64",
            "mincpunumber": "2",
            "minmemory": "2048",
            "directdownload": "false",
            "checksum": "{SHA-256}6df3473ee30509b6f50dc5afcf8e9202435ee209e5dcbe7c15bed3be3a2210ad",
            "url": "https://iso.example.com/k8s/kubernetes-v1.34.12.iso",
            "signatureversion": "3",
            "expires": "2030-01-01T00:00:00+0000",
        },
        f"apikey={K}&arch=x86_64&checksum=%7bsha-256%7d"
        "6df3473ee30509b6f50dc5afcf8e9202435ee209e5dcbe7c15bed3be3a2210ad"
        "&command=addkubernetessupportedversion&directdownload=false"
        "&expires=2030-01-01t00%3a00%3a00%2b0000&mincpunumber=2&minmemory=2048"
        "&name=v1.34.12%20%5b%ec%9a%b4%ec%98%81%5d%20a%2bb%7ec*&response=json"
        "&semanticversion=1.34.12&signatureversion=3"
        "&url=https%3a%2f%2fiso.example.com%2fk8s%2fkubernetes-v1.34.12.iso",
        "/pk0N+l713CfYHVYjgCma19xeb4=",
        "Sqc/VKv8JNFWdcyHYUBLJVNEEPFnlotB1ppXRVPTnfI=",
    ),
    "V5 a name with capitals": (
        {"command": "listZones", "response": "json", "apiKey": KEY, "available": "true"},
        f"apikey={K}&available=true&command=listzones&response=json",
        "vLpLHaFU/ZAsTcrmwL/ckx/YywE=",
        "blq5QQkYg6gBXnDw0LhWUOAnzVwRauseU1cD8h6frDE=",
    ),
    "V6 a tilde": (
        {"command": "listZones", "response": "json", "apikey": KEY, "name": "zone~1"},
        f"apikey={K}&command=listzones&name=zone%7e1&response=json",
        "OaK1j2jcz6bN/wTZbi2hZHy3zXw=",
        "nUu1IzpHe4mJLmvj8+KWj1Y9pez2oPy8mPoVOfBpVBw=",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_text_that_is_signed_is_the_servers(name: str) -> None:
    params, text, _sha1, _sha256 = VECTORS[name]
    assert string_to_sign(params) == text


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_each_vector_gives_its_signature(name: str, algorithm: SignatureAlgorithm) -> None:
    params, _text, sha1, sha256 = VECTORS[name]
    expected = sha1 if algorithm is SignatureAlgorithm.HMAC_SHA1 else sha256
    assert sign(params, SECRET, algorithm) == expected
    assert sign(params | {"signature": "old"}, SECRET, algorithm) == expected


def test_leaving_the_tilde_as_it_is_gives_what_the_server_refuses() -> None:
    params = VECTORS["V6 a tilde"][0]
    refused = "se9m/1bp1lIBrgLVN3aIj1j1u4jTA+Ig5KvlOVqYivY="
    assert sign(params, SECRET, SignatureAlgorithm.HMAC_SHA256) != refused


def test_the_encoding_is_javas() -> None:
    assert java_quote("AZaz09.-*_") == "AZaz09.-*_"
    assert java_quote(" +~[{/:%") == "%20%2B%7E%5B%7B%2F%3A%25"


def test_each_kind_of_server_has_the_other_algorithm_as_its_other() -> None:
    for algorithm in SignatureAlgorithm:
        assert algorithm.other.other is algorithm
        assert algorithm.other is not algorithm
