from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from isobuilder.formats.prometheus import metric, value_in


def test_labels_mean_to_prometheus_what_they_meant_here() -> None:
    odd = {"a": 'say "x"', "b": "back\\slash\nline", "c": "한글 {},="}
    (family,) = text_string_to_metric_families(metric("odd", "gauge", "Odd.", [(odd, 2.5)]))
    (sample,) = family.samples
    assert (family.name, family.documentation, family.type) == ("odd", "Odd.", "gauge")
    assert (sample.labels, sample.value) == (odd, 2.5)


def test_a_value_is_found_again_by_its_labels() -> None:
    rows = [({"command": "build"}, 1.5), ({"command": "build.it"}, 2)]
    text = metric("done", "gauge", "Done.", rows)
    assert value_in(text, "done", {"command": "build"}) == 1.5
    assert value_in(text, "done", {"command": "build.it"}) == 2
    assert value_in(text, "done", {"command": "buildxit"}) is None
    assert value_in("done 1.2.3\n", "done", {}) is None
