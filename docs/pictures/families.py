"""Draw `docs/pictures/families.svg` from the tables under "Measured" in docs/families.md.

`python docs/pictures/families.py` writes the picture anew after the tables have changed.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path(__file__).with_suffix(".svg")
FONT = 'font-family="sans-serif" font-size="12"'
BASE, SCALE, BAR, GAP, LEFT = 190, 300.0, 22, 30, 40  # pixels; SCALE: for an AP of 1
HEIGHT = 60  # pixels below the bars
COLOURS = {"dense": "#8b95a5", "control": "#2a8a4a", "merged": "#2f6fde"}
MEANING = {"dense": "dense", "control": "dense, tuned as long", "merged": "half of the MACs"}


def tables(text: str) -> dict[str, list[tuple[str, str, float]]]:
    """By data set: model, row, AP."""
    found: dict[str, list[tuple[str, str, float]]] = {}
    part = text[text.index("## Measured") :]
    title = ""
    for line in part.splitlines():
        if line.startswith("### "):
            title = line.removeprefix("### ")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) > 5 and cells[3] in COLOURS:
            rows = found.setdefault(title, [])
            rows.append((cells[0] or rows[-1][0], cells[3], float(cells[4])))
    return found


def draw(text: str) -> str:
    """The picture of the tables in a text."""
    parts, top, widest = [], 0, 0
    for title, rows in tables(text).items():
        base = top + BASE
        parts.append(f'<text x="10" y="{top + 20}" {FONT} font-weight="bold">{title}</text>')
        x, names = LEFT, list(dict.fromkeys(name for name, _, _ in rows))
        for name in names:
            bars = [(row, ap) for model, row, ap in rows if model == name]
            for row, ap in bars:
                high = ap * SCALE
                place = f'x="{x}" y="{base - high:.0f}" width="{BAR - 2}" height="{high:.0f}"'
                parts.append(f'<rect {place} fill="{COLOURS[row]}"/>')
                label = f'x="{x + BAR // 2}" y="{base - high - 4:.0f}" text-anchor="middle"'
                parts.append(
                    f'<text {label} font-family="sans-serif" font-size="9">{ap:.2f}</text>'
                )
                x += BAR
            middle = x - BAR * len(bars) // 2
            for line, word in enumerate(_in_two(name)):
                place = f'x="{middle}" y="{base + 16 + 14 * line}" text-anchor="middle"'
                parts.append(f"<text {place} {FONT}>{word}</text>")
            x += GAP + 36
        parts.append(f'<path d="M{LEFT - 10} {base}H{x - 40}" stroke="#888"/>')
        top, widest = base + HEIGHT, max(widest, x)
    for number, (row, words) in enumerate(MEANING.items()):
        x = LEFT + 170 * number
        parts.append(f'<rect x="{x}" y="{top}" width="12" height="12" fill="{COLOURS[row]}"/>')
        parts.append(f'<text x="{x + 18}" y="{top + 11}" {FONT}>{words}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{widest}" height="{top + 24}">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def _in_two(name: str) -> list[str]:
    """A long name on two lines."""
    first, dash, rest = name.partition("-")
    return [first, rest] if dash else [name]


if __name__ == "__main__":
    PICTURE.write_text(
        draw((ROOT / "docs" / "families.md").read_text(encoding="utf-8")), encoding="utf-8"
    )
