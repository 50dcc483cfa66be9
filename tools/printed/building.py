"""What commands print that make ISOs and look at them."""

from __future__ import annotations

from isobuilder.model.finding import Finding
from isobuilder.model.trust.policies import SignaturePolicy
from isobuilder.pipeline.compare import Difference
from isobuilder.pipeline.fetch import PlanItem
from isobuilder.pipeline.provenance.proofs import AddedProof
from isobuilder.pipeline.provenance.signing import Signed
from isobuilder.pipeline.trust import SignatureLine
from isobuilder.pipeline.unlisted import Unlisted
from isobuilder.pipeline.verify import Verification
from isobuilder.trust.rebuild.proof import RebuildProof
from tools.printed.shapes import (
    Schema,
    by,
    digest,
    document,
    either,
    flag,
    made_of,
    many,
    maybe,
    number,
    seconds,
    sometimes,
    text,
    thing,
)

_MISTAKE = thing(
    {
        "file": text("where it is"),
        "line": number("from 1"),
        "column": number("from 1"),
        "path": text("of keys, such as images.extra[3]; empty for the whole file"),
        "fact": text("what is the case"),
        "hint": maybe(text("the way out")),
    }
)
UNFIT = thing(
    {
        "rule": text("which rule says so"),
        "level": text("whether it cannot work", "error", "warning"),
        "fact": text("what is the case"),
        "hint": text("the way out"),
        "source": text("where it is known from, and of which day"),
    }
)
_PLAN = thing(
    {
        "items": many(made_of(PlanItem)),
        "download": number("bytes to download, of what is known; shared layers count once"),
        "unknown": number("items whose size nobody has seen yet"),
        "iso": number("bytes the ISO will have, about"),
        "disk": number("bytes of free disk that fetching and building need together"),
        "name": text("of the ISO"),
    }
)
_BUILT = thing(
    {
        "iso": text("its path"),
        "digest": digest("of the ISO"),
        "size": number("bytes"),
        "product_version": text("such as 1.36.5+mold-cks.r1"),
        "architecture": text(),
        "reused": flag("it was there already"),
        "side_files": many(text(), "paths of what lies beside it"),
        "signature": sometimes(text("path, with --sign")),
        "signatures": sometimes(many(made_of(SignatureLine), "of upstream, with --trust")),
    }
)
_CHECKED = thing(
    {
        "iso": text("its path"),
        "reproduced": flag("whether the same bytes came"),
        "digest": sometimes(digest("of both")),
        "fact": sometimes(text("where they differ")),
    }
)
_VERIFIED = made_of(
    Verification,
    {"passed": flag("whether nothing is wrong; warnings may be")},
    known=SignatureLine,
)

CELL = {
    "name": text("of the ISO"),
    "version": text("of Kubernetes"),
    "architecture": text(),
    "profile": text(),
    "variant": maybe(text()),
    "revision": number(),
    "source": text("what build is told: a recipe, or a shipped version"),
    "lock": maybe(digest("null where there is none")),
    "boot": text("the option of build", "--boot", "--no-boot"),
}
FINDING = made_of(Finding)

BUILDING: dict[str, Schema] = {
    "recipe check": many(
        thing(
            {
                "path": text("of the recipe"),
                "architectures": many(text()),
                "locked": many(text(), "architectures that have a lock"),
                "mistakes": many(_MISTAKE, "what is wrong"),
                "warnings": many(_MISTAKE, "what works and is unwise"),
                "unfit": many(UNFIT, "what does not fit together"),
            }
        )
    ),
    "recipe list": many(
        thing(
            {
                "version": text("of Kubernetes"),
                "profile": text(),
                "revision": number(),
                "architectures": many(text()),
                "locks": by(text("path"), "by architecture"),
                "recipe": text("path"),
            }
        )
    ),
    "recipe show": document("recipe", "with all that it extends"),
    "plan": either(_PLAN, many(_PLAN)),
    "build": either(many(_BUILT), _CHECKED),
    "verify": either(_VERIFIED, many(_VERIFIED)),
    "sign": many(made_of(Signed)),
    "trust show": by(made_of(SignaturePolicy), "by the policy's name"),
    "trust rebuild": many(made_of(RebuildProof)),
    "trust add": many(made_of(AddedProof)),
    "inspect": thing(
        {
            "source": text("path"),
            "kind": text("what it is", "iso", "lock", "recipe"),
            "label": maybe(text("of the volume")),
            "facts": by(text(), "versions and names, by what they are"),
            "tool": maybe(text("version of isobuilder that made it")),
            "epoch": maybe(number("every time stamp on it, in seconds since 1970")),
            "features": many(text()),
            "size": number("bytes of all files, as far as known"),
            "files": many(
                thing(
                    {
                        "path": text(),
                        "size": maybe(number("bytes")),
                        "digest": maybe(text("null where the path says no digest")),
                    }
                )
            ),
            "images": many(thing({"reference": text(), "digest": text()})),
            "unlisted_images": many(made_of(Unlisted), "what manifests name, and is not there"),
        }
    ),
    "diff": many(made_of(Difference, not_always=["releases"])),
    "catalogue": thing(
        {
            "site": text("path of its first page"),
            "isos": number(),
            "changed": number("files that were written"),
            "problems": many(text(), "what could not be read"),
        }
    ),
    "sbom diff": many(
        thing(
            {
                "in": text("image or file in which it is"),
                "kind": text("of package, such as deb or golang"),
                "name": text(),
                "change": text(),
                "left": many(text(), "versions"),
                "right": many(text(), "versions"),
            }
        )
    ),
    "sbom gate": thing(
        {
            "passed": flag("whether the policy refuses nothing"),
            "as_of": text("day by which it was judged"),
            "found": many(
                thing(
                    {
                        "answer": text("refused, or why not"),
                        "severity": text(),
                        "name": text("of the vulnerability"),
                        "in": text("image or file, - for the whole"),
                        "package": text(),
                        "version": text("- where it is not known"),
                        "reason": text(),
                    }
                )
            ),
        }
    ),
    "matrix": many(thing(CELL)),
    "matrix status": many(
        thing(
            CELL
            | {
                "state": text("what has become of it"),
                "facts": many(text(), "why it is not good"),
                "digest": maybe(digest("of its ISO, where all machines agree")),
            }
        )
    ),
    "boot": many(
        thing(
            {
                "name": text("of the machine"),
                "reached": by(seconds(), "seconds after power-on, by milestone"),
                "memory_mib": by(number(), "MiB in use, by milestone"),
                "errors": many(text()),
                "log": text("path of the console's log"),
            }
        )
    ),
}
