"""Tables that are made from the code and stand in a page between two marks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page; ``name`` stands in its marks, with the command that makes it."""

    name: str
    page: Path
    rows: Callable[[], str]

    @property
    def up_to_date(self) -> str:
        """The page's text with the table as it is now."""
        text = self.page.read_text(encoding="utf-8")
        begin = f"<!-- {self.name}: python -m tools.{self.name}_table --write -->"
        end = f"<!-- end of {self.name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        return f"{before}{begin}\n{self.rows()}\n{end}{after}"

    def main(self) -> None:
        """Print the table, or write it with ``--write``."""
        parser = argparse.ArgumentParser(description=f"Print the table of {self.page.name}.")
        parser.add_argument("--write", action="store_true", help="put it into the page")
        if parser.parse_args().write:
            self.page.write_text(self.up_to_date, encoding="utf-8")
        else:
            print(self.rows())
