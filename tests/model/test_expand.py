from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from isobuilder.documents.mistakes import InputErrors, nearest
from isobuilder.documents.template import TemplateProblem, expand
from isobuilder.errors import InputError
from isobuilder.model.loading import architectures_of, builtin_recipes, load_recipe, read_recipe

Write = Callable[[str, str], Path]

# A whole recipe for Apache CloudStack, the smallest of all profiles.
BASE = """\
schema: 1
kubernetes: "1.30.4"
profile: cloudstack-cks
architectures: [amd64, arm64]
vars: {cni: "1.4.0"}
files:
  - {name: kubeadm, path: k8s/kubeadm, url: "https://dl.k8s.io/{{ kubernetes }}/{{ arch }}/kubeadm"}
  - {name: kubelet, path: k8s/kubelet, url: "https://dl.k8s.io/{{ kubernetes }}/{{ arch }}/kubelet"}
  - {name: kubectl, path: k8s/kubectl, url: "https://dl.k8s.io/{{ kubernetes }}/{{ arch }}/kubectl"}
  - name: cni-plugins
    path: cni/cni-plugins-{{ arch }}.tgz
    url: https://example.com/{{ cni }}/{{ path }}
    checksum: "{{ url }}.sha256"
  - {name: crictl, path: "cri-tools/crictl-linux-{{ arch }}.tar.gz", url: "https://example.com/crictl"}
manifests:
  - {name: network, path: network.yaml, url: "https://example.com/network.yaml"}
  - {name: dashboard, path: dashboard.yaml, url: "https://example.com/dashboard.yaml"}
images:
  from: [kubeadm, manifests]
  replace: {"quay.io/a/b:latest": "quay.io/a/b:v1"}
  extra: ["quay.io/x/y:1"]
render:
  - {path: kubelet.service, template: kubelet.service.j2}
  - {path: 10-kubeadm.conf, template: 10-kubeadm.conf.j2}
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    write("base.yaml", BASE)
    return write


def mistakes(path: Path, architecture: str | None = None) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        load_recipe(path, architecture)
    return [str(one).removeprefix(str(path.parent) + "/") for one in caught.value.mistakes]


def hint(path: Path) -> str | None:
    with pytest.raises(InputErrors) as caught:
        load_recipe(path)
    return caught.value.mistakes[0].hint


# --- templates in place ---


def test_templates_see_version_architecture_and_their_own_entry(write: Write) -> None:
    recipe = load_recipe(write("a.yaml", BASE), "arm64")
    files = {file.name: file for file in recipe.files}
    assert files["kubeadm"].url == "https://dl.k8s.io/1.30.4/arm64/kubeadm"
    assert files["cni-plugins"].path == "cni/cni-plugins-arm64.tgz"
    assert files["cni-plugins"].url == "https://example.com/1.4.0/cni/cni-plugins-arm64.tgz"
    assert files["cni-plugins"].checksum == files["cni-plugins"].url + ".sha256"


def test_the_first_architecture_is_taken_when_none_is_named(write: Write) -> None:
    path = write("a.yaml", BASE)
    assert read_recipe(path).architecture == "amd64"
    assert architectures_of(path) == ("amd64", "arm64")


def test_an_architecture_the_recipe_is_not_for_is_refused(write: Write) -> None:
    path = write("a.yaml", "schema: 1\nextends: base.yaml\narchitectures: [amd64]\n")
    with pytest.raises(InputError, match="this recipe is for amd64, asked for arm64"):
        load_recipe(path, "arm64")


def test_the_same_content_has_the_same_digest_whatever_the_order_and_comments(write: Write) -> None:
    first = load_recipe(write("a.yaml", BASE))
    head, files = BASE.split("files:")
    moved = load_recipe(write("b.yaml", "# new\nfiles:" + files + head))
    assert first.digest == moved.digest
    more = BASE.replace('cni: "1.4.0"', 'cni: "1.4.0", unused: "1"').replace(", arm64]", "]")
    assert first.digest == load_recipe(write("c.yaml", more)).digest
    assert first.digest != load_recipe(write("a.yaml", BASE), "arm64").digest


def test_an_unknown_name_in_a_template_is_named_with_its_place(write: Write) -> None:
    path = write("a.yaml", BASE.replace("{{ cni }}", "{{ cnl }}"))
    assert mistakes(path) == ["a.yaml:12:10: files[cni-plugins].url: unknown name 'cnl'"]
    assert hint(path) == "did you mean 'cni'?"


def test_a_broken_template_is_one_mistake_not_two(write: Write) -> None:
    path = write("a.yaml", BASE.replace("https://example.com/{{ cni }}/{{ path }}", "'{{ nope }}'"))
    assert mistakes(path) == ["a.yaml:12:10: files[cni-plugins].url: unknown name 'nope'"]


def test_a_template_cannot_change_the_structure(write: Write) -> None:
    path = write("a.yaml", BASE.replace('cni: "1.4.0"', 'cni: "x, mode: 0777}, {y"'))
    assert "characters that must be percent-encoded" in mistakes(path)[0]


def test_vars_see_version_and_architecture_but_not_each_other(write: Write) -> None:
    text = BASE.replace('{cni: "1.4.0"}', '{cni: "{{ kubernetes_minor }}-{{ arch }}"}')
    assert "/1.30-arm64/" in load_recipe(write("a.yaml", text), "arm64").files[3].url
    text = BASE.replace('{cni: "1.4.0"}', '{one: "1", cni: "{{ one }}"}')
    assert mistakes(write("b.yaml", text))[0].startswith("b.yaml:5:23: vars.cni: unknown name")


def test_a_var_may_not_hide_a_name_that_has_a_meaning(write: Write) -> None:
    path = write("a.yaml", BASE.replace('cni: "1.4.0"', 'cni: "1.4.0", arch: amd64, "a-b": c'))
    assert mistakes(path) == [
        "a.yaml:5:22: vars: the name 'arch' has a meaning of its own in templates",
        "a.yaml:5:35: vars: the name 'a-b' cannot be used in a template",
    ]


def test_a_var_that_is_a_number_is_one_mistake_with_the_way_out(write: Write) -> None:
    path = write("a.yaml", BASE.replace('"1.4.0"', "1.4"))
    assert mistakes(path) == ["a.yaml:5:13: vars.cni: 1.4 is read as a number, expected text"]
    assert hint(path) == 'write "1.4"'


def test_1_30_as_a_number_is_explained(write: Write) -> None:
    path = write("a.yaml", BASE.replace('"1.30.4"', "1.30"))
    assert mistakes(path) == ["a.yaml:2:13: kubernetes: 1.30 is read as a number, expected text"]
    assert hint(path) == 'write "1.30.0"'


@pytest.mark.parametrize("version", ["v1.30.4", "1.30", "1.30.4-rc.1", "1.030.4", "newest"])
def test_what_is_not_a_released_version_is_refused(write: Write, version: str) -> None:
    path = write("a.yaml", BASE.replace('"1.30.4"', f'"{version}"'))
    assert any("kubernetes: expected a Kubernetes version x.y.z" in one for one in mistakes(path))


# --- the language of templates ---

VALUES = {"a": "Abc", "b": "x"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ a }}", "Abc"),
        ("{{ a|lower }}-{{ a|upper }}", "abc-ABC"),
        ("{{ a ~ '/' ~ b }}", "Abc/x"),
        ("{{ 'y' if a == 'Abc' else 'n' }}", "y"),
        ("{{ 'y' if a in ('Abc', 'z') and not b == 'q' else 'n' }}", "y"),
        ("no template { at } all\n", "no template { at } all\n"),
        ("{# nothing #}{{ b }}\n", "x\n"),
    ],
)
def test_what_templates_can_do(text: str, result: str) -> None:
    if "in (" in text:  # a list is not text, so it is not offered
        with pytest.raises(TemplateProblem, match="'tuple' is not allowed"):
            expand(text, VALUES)
    else:
        assert expand(text, VALUES) == result


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 9**9**9 }}",
        "{{ range(10**9)|join }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% set x = 1 %}",
        "{% include 'x' %}",
        "{% if a %}x{% endif %}",
        "{{ a.__class__ }}",
        "{{ a['__class__'] }}",
        "{{ a.upper() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ self }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ a|replace('A', a) }}",
        "{{ a|attr('__class__') }}",
        "{{ a|center(1000000000) }}",
        "{{ [a, a] }}",
        "{{ {'a': a} }}",
        "{{ lipsum(1000) }}",
        "{{ a",
        "{{ }}",
        "{{ a }",
        "{{ a if b == 'q' }}",
        "{{" + "(" * 1500 + "a" + ")" * 1500 + "}}",
        "{{ a }}" * 700,
        "x" * 5000 + "{{ a }}",
        "{{ '1' if a < 1 else '2' }}",
        "{{ 'a' in 5 }}",
        "{{ a < none }}",
        "{{ a ~ ('x' > 2.5) }}",
        "{{ " + "not " * 950 + "a }}",
        "{{ " + "a if a else " * 300 + "a }}" + "{{ a < 1 }}",
    ],
)
def test_what_templates_cannot_do_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(TemplateProblem):
        expand(text, VALUES)
    assert time.process_time() - started < 10


def test_nesting_that_a_compiler_would_refuse_is_no_mistake() -> None:
    assert expand("{{ " + "not " * 250 + "a }}", VALUES) == "True"


def test_only_so_many_names_are_looked_at_for_a_hint(write: Write) -> None:
    names = "".join(f"  some_name_{number}: x\n" for number in range(2000))
    uses = "".join(f"  c{n}: {{image: '{{{{ some_nome_{n} }}}}'}}\n" for n in range(1000))
    head = "schema: 1\nkubernetes: 1.34.12\n"
    path = write("a.yaml", f"{head}vars:\n{names}components:\n{uses}")
    started = time.process_time()
    with pytest.raises(InputErrors) as caught:
        load_recipe(path)
    assert time.process_time() - started < 10
    unknown = [one for one in caught.value.mistakes if "unknown name" in one.fact]
    assert len(unknown) == 1000
    assert unknown[7].hint == "did you mean 'some_name_7'?"


def test_a_hint_does_not_list_every_name_of_a_long_file() -> None:
    known = [f"{letter}{number}" for letter in "abc" for number in range(1000)]
    assert nearest("zebra", known).endswith(" and 2950 more")
    assert nearest("b99", ["b98"]) == "did you mean 'b98'?"


def test_a_result_that_is_too_long_is_refused() -> None:
    with pytest.raises(TemplateProblem, match="more than 8192 characters"):
        expand("{{ a }}" * 100, {"a": "x" * 100})


# --- extends ---


def test_maps_merge_and_lists_of_entries_merge_by_name(write: Write) -> None:
    path = write(
        "a.yaml",
        """\
        schema: 1
        extends: base.yaml
        revision: 3
        vars: {cni: "1.5.0", extra: "1"}
        files:
          - {name: kubelet, mode: "0755"}
          - {name: new, path: new.txt, url: "https://example.com/{{ extra }}"}
        images: {extra: ["quay.io/z/z:2"], replace: {"quay.io/c/d:latest": "quay.io/c/d:v2"}}
        registration: {min_cpu: 4}
        """,
    )
    recipe = load_recipe(path)
    assert recipe.revision == 3
    assert [file.name for file in recipe.files] == [
        "kubeadm", "kubelet", "kubectl", "cni-plugins", "crictl", "new",
    ]  # fmt: skip
    assert [file.mode for file in recipe.files[:3]] == ["0644", "0755", "0644"]
    assert recipe.files[1].url.endswith("/kubelet")
    assert "/1.5.0/" in recipe.files[3].url
    assert recipe.images.extra == ("quay.io/z/z:2",)
    assert set(recipe.images.replace) == {"quay.io/a/b:latest", "quay.io/c/d:latest"}
    assert recipe.registration.min_cpu == 4
    assert recipe.registration.min_memory_mb == 2048


def test_remove_drops_one_entry(write: Write) -> None:
    path = write(
        "a.yaml",
        """\
        schema: 1
        extends: base.yaml
        manifests:
          - {name: dashboard, remove: true}
          - {name: board, path: dashboard.yaml, url: "https://example.com/board.yaml"}
        """,
    )
    assert [one.name for one in load_recipe(path).manifests] == ["network", "board"]


def test_remove_drops_a_rendered_file_by_path_and_a_component_by_name(write: Write) -> None:
    write(
        "middle.yaml",
        """\
        schema: 1
        extends: base.yaml
        render: [{path: more.txt, template: more.j2}]
        components: {own: {image: "quay.io/a/b:v1"}}
        """,
    )
    path = write(
        "a.yaml",
        """\
        schema: 1
        extends: middle.yaml
        render: [{path: more.txt, remove: true}]
        components: {own: {remove: true}}
        """,
    )
    recipe = load_recipe(path)
    assert len(recipe.render) == 2
    assert recipe.components == {}


def test_what_cannot_be_removed_is_named(write: Write) -> None:
    path = write(
        "a.yaml",
        """\
        schema: 1
        extends: base.yaml
        files:
          - {name: kubelot, remove: true}
          - {name: kubelet, remove: maybe}
          - {name: kubectl, remove: true, mode: "0755"}
        components: {gone: {remove: true}}
        """,
    )
    found = mistakes(path)
    assert found[:4] == [
        "a.yaml:4:5: files: nothing with the name 'kubelot' to remove",
        "a.yaml:5:29: files[1].remove: expected true, found maybe",
        "a.yaml:6:5: files[2]: the key 'mode' beside remove: true",
        "a.yaml:7:20: components: nothing with the name 'gone' to remove",
    ]
    assert hint(path) == "did you mean 'kubelet'?"


def test_a_name_that_is_twice_in_one_file_is_reported_with_both_places(write: Write) -> None:
    path = write(
        "a.yaml",
        """\
        schema: 1
        extends: base.yaml
        files:
          - {name: kubelet, mode: "0755"}
          - {name: kubelet, mode: "0644"}
        """,
    )
    assert mistakes(path) == [
        "a.yaml:5:5: files[1]: the name 'kubelet' is there twice, first in line 4"
    ]


def test_two_entries_for_one_path_are_reported_with_both_places(write: Write) -> None:
    text = BASE.replace("path: network.yaml", "path: Dashboard.yaml")
    path = write("a.yaml", text)
    fact = f"two entries with the path dashboard.yaml, the other at {path}:16:5"
    assert f"a.yaml:17:23: manifests: {fact}" in mistakes(path)


def test_a_mistake_in_a_file_below_is_reported_there(write: Write) -> None:
    write("base.yaml", BASE.replace("path: network.yaml", "pth: network.yaml"))
    path = write("a.yaml", "schema: 1\nextends: base.yaml\nvars: {cni: 1.5}\n")
    assert mistakes(path) == [
        "a.yaml:3:13: vars.cni: 1.5 is read as a number, expected text",
        "base.yaml:16:5: manifests[network]: the key 'path' is missing",
        "base.yaml:16:21: manifests[network]: unknown key 'pth'",
    ]


def test_files_that_extend_each_other_are_refused(write: Write) -> None:
    path = write("a.yaml", "schema: 1\nextends: sub/b.yaml\n")
    write("sub/b.yaml", "schema: 1\nextends: ../a.yaml\n")
    assert mistakes(path) == [
        "sub/b.yaml:2:10: extends: the files extend each other: a.yaml -> b.yaml -> a.yaml"
    ]


@pytest.mark.parametrize(
    "wanted", ["../secret.yaml", "sub/../../secret.yaml", "link.yaml", "links/secret.yaml", "{}"]
)
def test_a_recipe_that_somebody_sends_reads_nothing_outside_its_folder(
    wanted: str, write: Write, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("token: wherefore\n")
    write("sent/sub/x.yaml", "")
    (tmp_path / "sent/link.yaml").symlink_to(secret)
    (tmp_path / "sent/links").symlink_to(tmp_path)
    path = write("sent/a.yaml", f"schema: 1\nextends: {wanted.format(secret)}\n")
    (told,) = mistakes(path)
    assert "is not below" in told
    assert "wherefore" not in told
    assert "token" not in told


def test_what_a_base_extends_stays_in_the_folder_of_the_first_file(write: Write) -> None:
    write("secret.yaml", "token: wherefore\n")
    write("sent/sub/b.yaml", "schema: 1\nextends: ../../secret.yaml\n")
    (told,) = mistakes(write("sent/a.yaml", "schema: 1\nextends: sub/b.yaml\n"))
    assert told.startswith("sub/b.yaml:2:10: extends: ")
    assert "is not below" in told


def test_a_recipe_may_be_named_by_way_of_a_link(write: Write, tmp_path: Path) -> None:
    write("base.yaml", BASE)
    path = write("a.yaml", "schema: 1\nextends: base.yaml\n")
    (tmp_path / "elsewhere").symlink_to(path.parent)
    assert load_recipe(tmp_path / "elsewhere" / path.name) == load_recipe(path)


@pytest.mark.parametrize("name", ["a" * 5000, "a\\0b", "b" * 300])
def test_a_name_that_no_file_can_have_is_a_file_that_is_missing(write: Write, name: str) -> None:
    (told,) = mistakes(write("a.yaml", f'schema: 1\nextends: "{name}"\n'))
    assert "extends: no file" in told


def test_a_chain_without_end_is_refused(write: Write) -> None:
    for number in range(20):
        write(f"c{number}.yaml", f"schema: 1\nextends: c{number + 1}.yaml\n")
    assert "more than 8 files extend each other" in mistakes(write("a.yaml", "extends: c0.yaml"))[0]


def test_a_missing_base_is_named_with_what_there_is(write: Write) -> None:
    path = write("a.yaml", "schema: 1\nextends: base/mold-csk.yaml\n")
    assert "extends: no file 'base/mold-csk.yaml' beside" in mistakes(path)[0]
    assert hint(path) == "did you mean 'base/mold-cks.yaml'?"


def test_the_recipes_we_ship_can_be_extended_from_anywhere(write: Write) -> None:
    shipped = (builtin_recipes() / "kubernetes-1.34.12.yaml").read_text()
    assert load_recipe(write("mine.yaml", shipped)) == load_recipe(
        builtin_recipes() / "kubernetes-1.34.12.yaml"
    )


def test_extends_that_is_not_text_is_refused(write: Write) -> None:
    assert "expected the path of a recipe file" in mistakes(write("a.yaml", "extends: [a, b]"))[0]


# --- the format ---


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ("path: k8s/kubeadm", "path: /k8s/kubeadm", "relative to the root of the ISO"),
        ("path: k8s/kubeadm", "path: ../kubeadm", "leaves the ISO"),
        ("path: k8s/kubeadm", "path: k8s/.kubeadm", "begins with a dot"),
        ("path: k8s/kubeadm", "path: k8s./kubeadm", "the part 'k8s.' of 'k8s./kubeadm' is empty"),
        ("path: k8s/kubeadm", "path: k8s/README.txt.", "ends with a dot"),
        ("https://example.com/crictl", "http://example.com/crictl", "expected an https address"),
        ("https://example.com/crictl", "ftp://example.com/crictl", "expected an https address"),
        ("https://example.com/crictl", "https://u:secret@example.com/c", "credentials in the add"),
        ("https://example.com/crictl", "https://example.com/c?token=1", "query or fragment"),
        ("https://example.com/crictl", "https://example.com/main/c", "'main' in"),
        ("https://example.com/crictl", "https://example.com/latest/c", "is a moving target"),
        (
            "https://example.com/crictl",
            "https://github.com/x/y/raw/refs/heads/stable/c",
            "'refs/heads/stable' in",
        ),
        (
            "https://example.com/crictl",
            "https://raw.githubusercontent.com/x/y/release-v3.30/c",
            "'release-v3.30' in",
        ),
        ("quay.io/x/y:1", "quay.io/x/y:canary", "is a moving target"),
        ("quay.io/x/y:1", "quay.io/x/y", "no tag or digest in 'quay.io/x/y'"),
        ("quay.io/x/y:1", "quay.io/x/y:latest", "is a moving target"),
        ("quay.io/x/y:1", "y:1", "no registry in 'y:1'; write docker.io/library/y:1"),
        ("[amd64, arm64]", "[amd64, riscv64]", "architectures[1]: expected amd64 or arm64"),
        ("[amd64, arm64]", "[]", "architectures"),
        ("[amd64, arm64]", "[amd64, amd64]", "architectures"),
        ("cloudstack-cks", "cloudstack-csk", "profile: expected 'mold-cks'"),
        ("schema: 1", "schema: 2", "schema: expected 1, found 2"),
        ("schema: 1", "schema: 1\nrevision: 0", "revision: "),
        ("schema: 1", "schema: 1\nrevision: 1000001", "revision: "),
        ("[kubeadm, manifests]", "[kubeadn]", "images.from[0]: expected 'kubeadm'"),
        ("schema: 1", "schema: 1\nreleased: 2025-02-30", "released: day is out of range"),
        ("schema: 1", "schema: 1\nreleased: yesterday", "released: expected a date such as"),
        ("schema: 1", "schema: 1\nreleased: ٢٠٢٦-٠١-٠٢", "released: expected a date such as"),
        ("name: network", "name: Net work", "expected a name of lower-case letters"),
    ],
)
def test_what_a_recipe_may_not_say(write: Write, old: str, new: str, fact: str) -> None:
    assert old in BASE
    found = "\n".join(mistakes(write("a.yaml", BASE.replace(old, new))))
    assert fact in found
    assert "secret" not in found


def test_the_mistake_of_the_design_is_reported_as_the_design_says(write: Write) -> None:
    path = write("a.yaml", BASE.replace("quay.io/x/y:1", "registry.k8s.io/pause"))
    found = mistakes(path)
    assert found == ["a.yaml:21:11: images.extra[0]: no tag or digest in 'registry.k8s.io/pause'"]


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000 + "b", "a\\0b"])
def test_a_base_with_a_name_that_no_file_has_is_not_there(write: Write, name: str) -> None:
    with pytest.raises(InputErrors, match="extends"):
        load_recipe(write("r.yaml", f'schema: 1\nextends: "{name}"\n'))


@pytest.mark.parametrize("day", ["1969-12-31", "2156-01-01", "0001-01-01"])
def test_a_day_of_release_that_no_iso_can_tell_is_refused(write: Write, day: str) -> None:
    text = f'schema: 1\nextends: base.yaml\nreleased: "{day}"\n'
    with pytest.raises(InputErrors, match="released: expected a day from 1970 to 2155"):
        load_recipe(write("r.yaml", text))
