"""The real API server takes what is shipped for it, and the real controllers bring it to an end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from isobuilder.demo.content import recipe
from tests.cli.calling import call
from tests.fakes.upstream import FakeUpstream
from tests.jobs.control_plane import ControlPlane, Nodes, control_plane, programs
from tests.jobs.pages import Shell, blocks_of
from tests.pipeline.site import Site

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(path.is_file() for path in programs().values()), reason="run make lab first"
    ),
]
NAME = "kubernetes-v1.34.8-mold-cks-amd64-r1"
WAIT = ("wait", "--namespace", "isobuilder", "--timeout=120s")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with FakeUpstream() as upstream:
        (tmp_path / "site").mkdir()
        made = Site(tmp_path / "site", upstream)
        yield made
        made.web.shutdown()
        made.web.server_close()


def blocks(*begins: str) -> list[str]:
    found = blocks_of("scheduled-builds.md")
    return [block for begin in begins for block in found if block.startswith(begin)]


def settings_of(site: Site) -> str:
    mirrors = {name: list(places) for name, places in site.config.mirrors.items()}
    return json.dumps({"mirrors": mirrors, "retries": 0})


def recipe_in(folder: Path) -> None:
    """Put a recipe that the embedded upstream has into the volume."""
    recipes = folder / "var/lib/isobuilder/recipes"
    recipes.mkdir(parents=True)
    text = recipe().decode().replace('"1.34.12"', '"1.34.8"')
    (recipes / "kubernetes-1.34.8.yaml").write_text(text)


def test_the_page_leads_to_a_cron_job_that_really_runs_to_its_end(
    plane: ControlPlane, site: Site, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    recipe_in(volume)
    work = tmp_path / "work"
    work.mkdir()
    shell = Shell(work, plane.env)
    schedule, apply = blocks("isobuilder upstream schedule --format kubernetes", "kubectl apply")
    call(*schedule.split()[1:-1], work)  # --out .
    file = work / "isobuilder.yaml"
    # A person edits settings and policy: of this upstream, whose minor has ended.
    text = file.read_text().replace("    {}\n", f"    {settings_of(site)}\n")
    more = "    ended_minors: true\n    known_bad: true\n    architectures: [amd64]\n"
    text = text.replace("hold_days: 3\n", f"hold_days: 0\n{more}")
    file.write_text(text.replace("/published", "/published\n      url: http://isos.example"))

    nodes = Nodes(plane, volume, "isobuilder", {})
    for document in yaml.safe_load_all(file.read_text()):  # as the volumes of pods have it
        if document["kind"] == "ConfigMap":
            config = volume / "etc/isobuilder"
            config.mkdir(parents=True)
            for name, content in document["data"].items():
                (config / name).write_text(content.replace("/var/lib", f"{volume}/var/lib"))
    with nodes.at_work():
        said = shell.type(apply)
    assert "cronjob.batch/isobuilder-sync serverside-applied" in said
    assert "would violate" not in said  # the restricted standard, as the API server sees it
    assert "job.batch/first condition met" in said
    assert list(nodes.ended.values()) == [0]
    assert (volume / f"var/lib/isobuilder/published/{NAME}.iso").is_file()
    assert "2 done, 0 failed" in (volume / "var/lib/isobuilder/report.md").read_text()


def test_jobs_of_cells_really_run_to_their_end_and_mistakes_are_not_tried_again(
    plane: ControlPlane, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = tmp_path / "volume"
    recipe_in(volume)
    (config := tmp_path / "config.yaml").write_text(settings_of(site))
    state = volume / "var/lib/isobuilder"
    monkeypatch.chdir(state)  # recipes are named as they are in the volume
    store = ("--config", config, "--store", state / "store")
    call("lock", "recipes/kubernetes-1.34.8.yaml", "--arch", "amd64", *store)
    words = ("--format", "kubernetes", "--image", "registry.example/isobuilder:1")
    jobs = call("matrix", "--recipes", "recipes", "--arch", "amd64", *words).stdout
    name = NAME.replace(".", "-")
    wrong = jobs.replace(f"name: {name}", f"name: {name}-wrong")
    wrong = wrong.replace("kubernetes-1.34.8.yaml", "nothing.yaml")
    plane.kubectl("create", "namespace", "cells")
    label = "pod-security.kubernetes.io/enforce=restricted"
    plane.kubectl("label", "namespace", "cells", label, label.replace("enforce", "warn"))
    apply = ("apply", "--server-side", "--namespace", "cells", "--filename", "-")
    nodes = Nodes(plane, volume, "cells", {"ISOBUILDER_CONFIG": str(config)})
    with nodes.at_work():
        assert "would violate" not in plane.kubectl(*apply, given=f"{jobs}---\n{wrong}")
        wait = ("wait", "--namespace", "cells", "--timeout=120s")
        plane.kubectl(*wait, "--for=condition=complete", f"job/{name}")
        plane.kubectl(*wait, "--for=condition=failed", f"job/{name}-wrong")
    assert json.loads((state / f"dist/{NAME}.verified.json").read_text())["passed"] is True
    failed = plane.get("job", f"{name}-wrong", "--namespace", "cells")
    reasons = {one["reason"] for one in failed["status"]["conditions"] if one["type"] == "Failed"}
    assert reasons == {"PodFailurePolicy"}
    assert sorted(nodes.ended.values()) == [0, 2]  # one pod each
    # The same again is the same, and nothing is begun anew.
    plane.kubectl(*apply, given=jobs)
    assert len(plane.get("pods", "--namespace", "cells")["items"]) == 2


def test_the_server_takes_the_jobs_of_all_shipped_recipes(
    plane: ControlPlane, tmp_path: Path
) -> None:
    (block,) = blocks("isobuilder matrix --arch amd64 --format kubernetes")
    written = tmp_path / "jobs.yaml"
    written.write_text(call(*block.splitlines()[0].split(" > ")[0].split()[1:]).stdout)
    dry = ("apply", "--server-side", "--dry-run=server", "--filename")
    assert plane.kubectl(*dry, written).count("serverside-applied") == len(
        list(yaml.safe_load_all(written.read_text()))
    )
    bad = tmp_path / "bad.yaml"
    bad.write_text(written.read_text().replace("restartPolicy: Never", "restartPolicy: Always"))
    with pytest.raises(AssertionError, match="restartPolicy"):
        plane.kubectl(*dry, bad)
