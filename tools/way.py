"""The pages that lead a new user from nothing to a site, as one script: ``python -m tools.way``.

Their shell blocks, in order, are one session of bash: a variable or a folder of one block is there
in the next. What a machine has to have is on the pages; who types them says with the variable
RECIPE what is built, and with ISOBUILDER_CONFIG where upstream is.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

from tools.tables import DOCS

PAGES = ("installing", "first-iso", "first-registration", "first-site")
PORTS = (18080, 18081)  # the simulator's and the web server's, on the pages
_BEGIN = """\
set -euo pipefail
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
"""


def blocks(page: str) -> list[str]:
    """Return the blocks of a page that are to be typed, in their order."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def script(*, installed: bool = False, ports: Mapping[int, int] | None = None) -> str:
    """Return all pages as a script of bash.

    Args:
        installed: leave out the first block, which installs; ``~/isobuilder`` is there.
        ports: other ports in place of those of the pages, which may be taken.
    """
    typed = [block for page in PAGES for block in blocks(page)][installed:]
    text = "\n".join([_BEGIN, *typed])
    for old, new in (ports or {}).items():
        text = re.sub(rf"\b{old}\b", str(new), text)
    return text


def main() -> None:
    """Print the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--installed", action="store_true", help="without what installs")
    print(script(installed=parser.parse_args().installed), end="")


if __name__ == "__main__":
    main()
