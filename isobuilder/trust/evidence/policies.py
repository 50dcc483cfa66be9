"""The policies that are known: those that are shipped, those of a file, those of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.errors import InputError
from isobuilder.model.base import Model, Name
from isobuilder.model.lock import Lock
from isobuilder.model.recipe import Recipe
from isobuilder.model.trust.policies import RecipeTrust, SignaturePolicy
from isobuilder.model.validation import build

_SHIPPED = Path(__file__).with_name("data") / "policies.yaml"


class _PolicyFile(Model):
    """A file of policies."""

    format: Annotated[Literal[1], Field(alias="schema")]
    policies: dict[Name, SignaturePolicy]


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, SignaturePolicy]:
    """Return the policies that come with isobuilder."""
    return build(read_yaml(_SHIPPED), _PolicyFile).policies


def known_policies(
    file: Path | None = None, recipe: RecipeTrust | None = None, *, enforced: bool = True
) -> dict[str, SignaturePolicy]:
    """Return every policy by its name; a recipe's wins over the file's, and that over ours.

    Unless ``enforced``, what a shipped one needs is only wanted.

    Raises:
        InputErrors: all that is wrong with the file.
        InputError: the recipe needs a policy that there is not.
    """
    found = {
        name: policy if enforced else policy.model_copy(update={"level": "wanted"})
        for name, policy in shipped().items()
    }
    if file is not None:
        found |= build(read_yaml(file), _PolicyFile).policies
    if recipe is None:
        return found
    found |= recipe.policies
    for name in recipe.needed:
        if name not in found:
            raise InputError(
                f"trust.needed: there is no policy {name!r}",
                hint=f"known are {', '.join(sorted(found))}; isobuilder trust show tells them",
            )
        found[name] = found[name].model_copy(update={"level": "needed"})
    return found


def policies_for(
    lock: Lock, recipe: Recipe, file: Path | None, enforced: bool
) -> dict[str, SignaturePolicy]:
    """Return the policies that a lock's files name, or its recipe's ``trust``.

    Raises:
        InputErrors, InputError: as ``known_policies``, or a file names a policy that there is not.
    """
    known = known_policies(file, recipe.trust, enforced=enforced)
    named = {item.evidence.signature for item in lock.files if item.evidence.signature}
    for name in sorted(named - known.keys()):
        raise InputError(
            f"{lock.base_name}: there is no signature policy {name!r}",
            hint=f"known are {', '.join(sorted(known))}; write it into the recipe's trust.policies",
        )
    if recipe.trust is not None:
        named |= {*recipe.trust.policies, *recipe.trust.needed}
    return {name: policy for name, policy in known.items() if name in named}
