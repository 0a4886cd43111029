"""Draw `docs/pictures/demo.svg` from the table of `make demo` in README.md.

`python docs/pictures/demo.py` writes the picture anew after the table has changed.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path(__file__).with_suffix(".svg")
TITLE = "make demo: AP of every stage with its 95 % interval, and what is left of the model"
FONT = 'font-family="sans-serif" font-size="12"'
BASE, STEP, WIDE, SCALE = 240, 118, 56, 320.0  # pixels; SCALE: pixels for an AP of 1
UNITS = {5: "M not zero", 6: "GMACs", 7: "MB"}  # of the columns written below a bar


def rows(text: str) -> list[list[str]]:
    """The cells of the table whose head begins with `stage`."""
    lines = text[text.index("| stage ") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def draw(text: str) -> str:
    """The picture of the table in a text."""
    table = rows(text)
    parts = [f'<text x="10" y="20" {FONT} font-weight="bold">{TITLE}</text>']
    for number, cells in enumerate(table):
        ap, *ends = [float(value) for value in re.findall(r"[\d.]+", cells[2])]
        x = 36 + STEP * number
        middle, top = x + WIDE // 2, BASE - ap * SCALE
        parts.append(
            f'<rect x="{x}" y="{top:.0f}" width="{WIDE}" height="{ap * SCALE:.0f}" fill="#8fb8de"/>'
        )
        if ends:
            y = [f"{BASE - end * SCALE:.0f}" for end in ends]
            parts.append(f'<path d="M{middle} {y[0]}V{y[1]}" stroke="#24507a" stroke-width="2"/>')
        labels = [cells[0], f"AP {ap:.4f}"]
        labels += [f"{cells[n].split(' ')[0]} {unit}" for n, unit in UNITS.items() if cells[n]]
        for line, label in enumerate(labels):
            place = f'x="{middle}" y="{BASE + 18 + 16 * line}" text-anchor="middle"'
            parts.append(f"<text {place} {FONT}>{label}</text>")
    parts.append(f'<path d="M20 {BASE}H{STEP * len(table) + 10}" stroke="#888"/>')
    size = f'width="{STEP * len(table) + 20}" height="{BASE + 92}"'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, ground, *parts, "</svg>\n"])


if __name__ == "__main__":
    PICTURE.write_text(draw((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")
