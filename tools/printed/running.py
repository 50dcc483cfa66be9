"""What commands print about upstream, stores, servers, sites and machines."""

from __future__ import annotations

from isobuilder.mold.api.records import (
    ClusterRecord,
    EventRecord,
    IsoInZone,
    KubernetesVersion,
    ZoneRecord,
)
from isobuilder.pipeline.delta.apply import AppliedDelta
from isobuilder.pipeline.delta.make import MadeDelta
from isobuilder.pipeline.trust import SignatureLine
from isobuilder.pipeline.upstream.report import SyncStep
from isobuilder.site.bundles.export import WrittenPart
from isobuilder.site.parity import Parity
from isobuilder.site.prune import Doomed
from isobuilder.site.repair import Mended
from isobuilder.sources.upstream.notices import Notice
from tools.printed.building import FINDING
from tools.printed.shapes import (
    Schema,
    anything,
    by,
    digest,
    document,
    either,
    flag,
    made_of,
    many,
    maybe,
    number,
    sometimes,
    text,
    thing,
)

_SERVER = text("its name in the settings, or its host")
_VERSION = {
    "server": _SERVER,
    "sha256": maybe(text("of the ISO, where the server tells it")),
    "isos": many(made_of(IsoInZone), "the ISO in each zone"),
}
_NODES = thing(
    {
        "name": text("of the cluster"),
        "kubernetes": text("version"),
        "endpoint": text("address of the API server"),
        "nodes": many(
            thing(
                {
                    "name": text(),
                    "role": text(),
                    "address": maybe(text("null: by DHCP")),
                    "instance": text("the identity that cloud-init goes by"),
                    "folder": text("path of its data"),
                    "seed": maybe(text("path of its seed")),
                }
            )
        ),
    }
)
_BLOB = {"name": text(), "digest": digest(), "size": number("bytes")}
_DELTA = thing(
    {
        "path": text(),
        "size": number("bytes"),
        "links": many(
            thing(
                _BLOB
                | {
                    "given": many(thing(_BLOB), "what one has to have"),
                    "beside": many(text(), "files that come along"),
                    "copied": number("bytes from what one has"),
                    "zeros": number("bytes"),
                    "segments": number(),
                    "carried": number("bytes in the delta"),
                    "pieces": many(
                        thing(
                            {
                                "piece": text(),
                                "method": text(),
                                "size": number("bytes"),
                                "from": number("bytes it is made from"),
                                "carried": number("bytes in the delta"),
                            }
                        )
                    ),
                }
            )
        ),
    }
)

RUNNING: dict[str, Schema] = {
    "upstream list": thing(
        {
            "kubernetes": many(
                thing(
                    {
                        "minor": text(),
                        "newest": maybe(text("its newest patch")),
                        "day": maybe(text("of that release")),
                        "end": maybe(text("of upstream's support")),
                        "ours": maybe(text("the newest patch of our recipes")),
                    }
                )
            ),
            "components": many(
                thing(
                    {
                        "component": text(),
                        "line": text(),
                        "newest": text(),
                        "day": maybe(text("of that release")),
                        "end": maybe(text("of upstream's support")),
                    }
                )
            ),
        }
    ),
    "upstream check": many(made_of(Notice)),
    "upstream propose": thing(
        {
            "version": text("of Kubernetes"),
            "begun_from": text("a recipe's file name"),
            "candidate": flag("a person has to complete it"),
            "lacks": many(text(), "what is missing"),
            "recipe": text("YAML"),
            "changes": many(text(), "of numbers, against the recipe it was begun from"),
            "news": many(text(), "what that means"),
            "choices": many(
                thing({"component": text(), "version": maybe(text()), "reason": text()})
            ),
            "locks": by(
                either(thing({"path": text()}), thing({"error": text()})), "by architecture"
            ),
            "contents": many(text(), "how files, images and sizes change"),
        }
    ),
    "upstream sync": thing(
        {
            "day": text(),
            "steps": many(made_of(SyncStep)),
            "notices": many(made_of(Notice)),
        }
    ),
    "upstream rules": document("rules"),
    "store list": many(
        thing(
            {
                "digest": digest(),
                "size": number("bytes"),
                "used": number("when a build last needed it, in seconds since 1970"),
                "names": many(text()),
            }
        )
    ),
    "store check": thing(
        {
            "blobs": number(),
            "size": number("bytes"),
            "damaged": many(digest(), "which are in quarantine now"),
            "unreadable": many(thing({"name": text(), "fact": text()})),
        }
    ),
    "store gc": thing(
        {
            "removed": many(thing({"digest": digest(), "size": number("bytes")})),
            "freed": number("bytes"),
            "kept": number("bytes"),
            "in_use": number("bytes that another run holds"),
            "dry_run": flag("nothing was removed"),
        }
    ),
    "mold list": many(made_of(KubernetesVersion, _VERSION)),
    "mold show": either(
        _SHOWN := made_of(
            KubernetesVersion,
            _VERSION
            | {
                "clusters": maybe(many(made_of(ClusterRecord), "that use it")),
                "events": maybe(many(made_of(EventRecord))),
            },
        ),
        many(_SHOWN),
    ),
    "mold events": many(made_of(EventRecord, {"server": _SERVER})),
    "mold zones": many(made_of(ZoneRecord, {"server": _SERVER})),
    "mold setting": many(thing({"server": _SERVER, "name": text(), "value": text()})),
    "mold check": many(
        thing(
            {
                "server": _SERVER,
                "level": text("", "ok", "warning", "problem"),
                "subject": text("what was looked at"),
                "fact": text(),
                "remedy": maybe(text()),
                "fix": sometimes(thing({"setting": text(), "old": text(), "new": text()})),
            }
        )
    ),
    "mold register": many(
        thing(
            {
                "server": _SERVER,
                "name": text("of the version"),
                "ok": flag(),
                "error": maybe(text()),
                "hint": maybe(text()),
                "done": many(text(), "what was changed"),
                "warnings": many(text()),
                "zones": many(
                    thing(
                        {
                            "zone": text(),
                            "outcome": text(),
                            "text": text("what the server says"),
                            "hint": maybe(text()),
                            "version_id": maybe(text()),
                        }
                    )
                ),
            }
        )
    ),
    "mold audit": many(
        thing(
            {
                "server": _SERVER,
                "kind": text("of deviation"),
                "subject": text("a version"),
                "fact": text(),
                "notice": flag("to be known only; it counts as no difference"),
                "actions": many(text(), "what would mend it"),
            }
        )
    ),
    "mold apply": many(
        thing(
            {
                "server": _SERVER,
                "action": text(),
                "fate": text("what became of it"),
                "text": text(),
            }
        )
    ),
    "site export": thing(
        {
            "bundle": digest("its identity"),
            "size": number("bytes"),
            "things": number("blobs, locks and files in it"),
            "parts": many(made_of(WrittenPart)),
            "sums": maybe(text("path of the checksums")),
        }
    ),
    "site import": thing(
        {
            "imported": many(
                thing(
                    {
                        "from": text(),
                        "added": number("new blobs"),
                        "no_lock": maybe(text("of an ISO: why its lock is not here")),
                    }
                )
            ),
            "bundles": many(
                thing(
                    {
                        "bundle": digest("its identity"),
                        "missing": many(digest()),
                        "missing_parts": many(number()),
                        "parts": maybe(number("of how many it consists")),
                    }
                )
            ),
            "locks": many(text(), "paths of locks that can be built now"),
            "lacking": many(
                thing(
                    {
                        "lock": text("path of a lock that cannot, or of the ISO it came with"),
                        "missing": many(text(), "what the store lacks of it"),
                    }
                )
            ),
        }
    ),
    "site check": thing(
        {
            "isos": many(
                thing(
                    {
                        "iso": text("path"),
                        "digest": maybe(digest("null: it is none")),
                        "passed": flag(),
                        "findings": many(FINDING),
                        "not_proved": many(text()),
                        "signatures": many(text(), "beside it that hold, with --key"),
                        "trust": many(made_of(SignatureLine), "who signed what, with --trust"),
                        "version": maybe(text("of Kubernetes")),
                        "will_be_missing": many(text(), "images that something on it starts"),
                    }
                )
            ),
            "bundles": many(
                thing(
                    {
                        "bundle": digest("its identity"),
                        "missing": many(text(), "neither here nor in the store"),
                        "missing_parts": many(number(), "in which that is"),
                        "parts": number("of how many it consists"),
                        "builds": many(text(), "names of ISOs"),
                        "not_carried": many(text()),
                        "not_looked_at": many(text(), "too large: what they need is not known"),
                        "will_be_missing": many(
                            thing({"lock": text(), "image": text()}),
                            "images that something on its ISOs starts",
                        ),
                    }
                )
            ),
            "upgrades": many(
                thing(
                    {
                        "have": text("a version that runs"),
                        "architecture": maybe(text("of the cluster, or of what is offered")),
                        "steps": many(text(), "versions, one after another"),
                        "missing_minor": maybe(text("for later ones")),
                    }
                )
            ),
        }
    ),
    "site delta": either(made_of(MadeDelta), many(_DELTA)),
    "site apply": made_of(AppliedDelta),
    "site repair": made_of(Mended),
    "site protect": made_of(Parity),
    "site ledger": either(
        thing(
            {
                "number": number(),
                "count": number("ISOs, or blobs"),
                "signed": flag(),
                "ledger": text("the letters"),
                "files": many(text(), "paths that were written"),
            }
        ),
        thing(
            {
                "number": number(),
                "news": text("how it follows the one before"),
                "skipped": number("ledgers in between that never came"),
                "descent_proved": flag("whether it is the last one that was read, or follows it"),
                "signed_by": maybe(digest("of the key that was proved, in DER")),
                "signed_on": maybe(text("a day, by the signer's own word")),
                "count": number("ISOs, or blobs"),
                "exact": flag("whether all of it is known by name"),
                "unknown": number("things that nobody here knows"),
                "there": many(text()),
                "absent": by(many(digest()), "what is missing, by name"),
                "handed_over_and_not_there": many(digest()),
            }
        ),
    ),
    "site push": either(
        thing(
            {
                "registry": text(),
                "blobs": thing(
                    {
                        "sent": number(),
                        "mounted": number("from another repository there"),
                        "there": number("already"),
                        "bytes_sent": number(),
                    }
                ),
                "manifests": thing({"sent": number(), "there": number("already")}),
                "tags": number(),
                "moved": many(text(), "tags that named something else"),
                "refused": many(text(), "what the registry does not keep"),
                "unread": many(text(), "what could not be read, and was not pushed"),
            }
        ),
        thing(
            {
                "deleted": flag("with --yes"),
                "manifests": many(made_of(Doomed)),
                "kept": many(text(), "what stays, and why"),
            }
        ),
    ),
    "node cluster": _NODES,
    "node user-data": _NODES,
    "node upgrade": thing(
        {
            "from": text("version"),
            "to": text("version"),
            "iso": text("its name"),
            "architecture": text(),
            "nodes": many(thing({"name": text(), "role": text(), "version": text()})),
            "steps": many(
                thing({"number": number(), "node": text(), "what": text(), "command": text()})
            ),
            "notes": many(text()),
        }
    ),
    "os build": document("payload"),
    "os show": document("payload"),
    "os list": many(
        thing(
            {
                "name": text(),
                "digest": digest("of its description"),
                "kernel_version": text(),
                "packages": number(),
                "size": number("bytes"),
            }
        )
    ),
    "config show": by(
        thing({"value": anything(), "origin": text("a flag, a variable, a place in a file")}),
        "by the setting's name",
    ),
    "doctor": thing(
        {
            "isobuilder": text("its version"),
            "python": text("its version"),
            "machine": text("kind of processor"),
            "abilities": many(
                thing(
                    {
                        "name": text(),
                        "does": text("what it is for"),
                        "here": flag(),
                        "lacks": many(
                            thing(
                                {
                                    "what": text(),
                                    "package": maybe(text("Debian's")),
                                    "extra": maybe(text("of isobuilder")),
                                    "remedy": maybe(text()),
                                }
                            )
                        ),
                        "notes": many(text()),
                    }
                )
            ),
        }
    ),
}
