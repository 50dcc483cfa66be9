"""Rules of section A.2 of the node contract: finding, mounting and fetching the disc."""

from __future__ import annotations

from collections.abc import Iterator

from isobuilder.contract.rule import Problem, Rule, rule
from isobuilder.contract.view import NodeView
from isobuilder.medium import LABEL
from isobuilder.model.base import PLAIN
from isobuilder.model.profile import FORBIDDEN

_REMEDY = "rename the file, or leave it out"


@rule("A.2.label")
def label(disc: NodeView) -> Iterator[Problem]:
    """The volume label is CDROM.

    Nodes look for the disc with `blkid -t LABEL=CDROM`; with another label they wait until
    their tries are used up, and the cluster is never installed. Of an ISO with a Joliet tree,
    blkid tells that tree's label.
    """
    for found in dict.fromkeys((disc.label, *disc.medium.other_labels)):
        if found == LABEL:
            continue
        yield Problem(
            "volume descriptor",
            f"the volume label is {found!r}, nodes look for {LABEL!r}",
            f"write the ISO with the volume label {LABEL}",
        )


@rule("A.2.dot-file", roles=("worker",))
def dot_file(disc: NodeView) -> Iterator[Problem]:
    """No name begins with a dot.

    Workers that fetch the tree over HTTP move everything except dot files, so such a file is
    missing on them, and the check of SHA256SUMS fails if it is listed there.
    """
    for path in sorted(disc.files):
        if any(part.startswith(".") for part in path.split("/")):
            yield Problem(path, "a worker that fetches the tree over HTTP drops it", _REMEDY)


@rule("A.2.index-html", roles=("worker",))
def index_html(disc: NodeView) -> Iterator[Problem]:
    """No name begins with index.html.

    Workers that fetch the tree over HTTP do so with `wget -r -R "index.html*"`, which leaves
    such a file out.
    """
    for path in sorted(disc.files):
        if path.rpartition("/")[2].startswith(FORBIDDEN):
            yield Problem(path, "a worker that fetches the tree over HTTP rejects it", _REMEDY)


@rule("A.2.plain-name", severity="warning", roles=("worker",))
def plain_name(disc: NodeView) -> Iterator[Problem]:
    """Names survive a listing over HTTP.

    Workers that fetch the tree over HTTP take names from links, where characters other than
    letters, digits, space and . _ + @ = : , ~ - are written in ways that differ between
    servers.
    """
    for path in sorted(disc.files):
        if not all(PLAIN.fullmatch(part) for part in path.split("/")):
            yield Problem(repr(path), "a name that may change in a listing over HTTP", _REMEDY)


RULES: tuple[Rule, ...] = (label, dot_file, index_html, plain_name)
