"""Every target by its name."""

from __future__ import annotations

from tests.fuzz.commands import COMMANDS
from tests.fuzz.compressed import COMPRESSED
from tests.fuzz.deltas import DELTAS
from tests.fuzz.discs import DISCS
from tests.fuzz.packages import PACKAGES
from tests.fuzz.payloads import PAYLOADS
from tests.fuzz.records import RECORDS
from tests.fuzz.servers import SERVERS
from tests.fuzz.texts import TEXTS

_ALL = (*TEXTS, *RECORDS, *DISCS, *DELTAS, *COMPRESSED, *PACKAGES, *PAYLOADS, *SERVERS, *COMMANDS)
TARGETS = {target.name: target for target in _ALL}
