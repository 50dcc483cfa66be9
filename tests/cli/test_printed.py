"""What the reference says of ``--json`` is what is printed; the tests of all commands hold it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from isobuilder.cli.main import main
from isobuilder.cli.setup import doctor
from isobuilder.cli.setup.man import contexts
from tests.cli.printed import faults
from tools.printed.page import PRINTED


def test_every_command_that_prints_json_is_in_the_reference() -> None:
    found = {
        context.command_path.partition(" ")[2]
        for context in contexts(main)
        if any("--json" in parameter.opts for parameter in context.command.params)
    }
    assert found == set(PRINTED)


def test_a_field_that_is_not_in_the_reference_is_a_fault_and_so_is_one_that_is_missing() -> None:
    good = {"files": ["a.par2"], "size": 3}
    assert faults("site protect", good) == []
    assert "'more' was unexpected" in faults("site protect", good | {"more": 1})[0]
    assert faults("site protect", {"files": []}) != []
    assert faults("site protect", good | {"size": "3"}) != []


def test_a_test_of_a_command_that_prints_something_else_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_as_data", lambda one: {"name": one.name})
    done = CliRunner().invoke(main, ["doctor", "--json"])
    assert done.exit_code == 1
    assert "not as in docs/reference/output.md: ['$.abilities[0]: 'does'" in done.stderr.replace(
        '"', "'"
    )
