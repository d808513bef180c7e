#!/usr/bin/env python
"""Put tables of reports into a model card, so that no figure is typed.

python scripts/model_card.py assets/student-mobile.md held-out=runs/x/evaluation/sim-loo-kiosk/report.md ...

NAME=FILE[#HEADING]: the tables of the file, or of its section, replace what stands between `<!-- NAME -->` and
`<!-- end -->` in the card. Prints the names it filled; fails where one is missing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def tables(text: str, heading: str) -> str:
    """The Markdown tables of a section (of everything without a heading), a blank line between two."""
    if heading:
        found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.M | re.S)
        if not found:
            sys.exit(f"no section {heading}")
        text = found[1]
    found = re.findall(r"(?:^\|.*(?:\n|\Z))+", text, re.M)
    if not found:
        sys.exit(f"no table in section {heading or 'any'}")
    return "\n\n".join(found).replace("\n\n\n", "\n\n").strip()


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    card, *wanted = sys.argv[1:]
    path = Path(card)
    text = path.read_text("utf-8")
    for each in wanted:
        name, _, source = each.partition("=")
        file, _, heading = source.partition("#")
        block = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.S)
        if not block.search(text):
            sys.exit(f"{card}: has no <!-- {name} -->")
        filled = tables(Path(file).read_text("utf-8"), heading)
        text = block.sub(lambda found: f"{found[1]}\n{filled}\n\n{found[2]}", text)  # noqa: B023
        print(f"{name}: {filled.count(chr(10)) + 1} lines")
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
