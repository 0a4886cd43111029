"""Pascal VOC annotation files and lists with something wrong in them."""

from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.images import encoded

STEM = "000001"
VALUES = (
    "",
    "0",
    "1",
    "-1",
    "7.5",
    "nan",
    "inf",
    "1e308",
    "1e5",
    "100000.5",
    "9" * 5000,
    "x",
    "cat",
    "é",
    "a b",
    "\u2028",
    "a" * 300,
    "../x",
    "&amp;",
    "&unknown;",
    "&#0;",
    "&#xd800;",
    "<b/>",
    "<!-- -->",
    "<![CDATA[1]]>",
    "<object><name>dog</name></object>",
)
OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin>"
    "<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
)
SOUND = {"name": "cat", "difficult": "0", "xmin": "2", "ymin": "3", "xmax": "20", "ymax": "18"}
HEADS = (
    "",
    "",
    "",
    "",
    '<?xml version="1.0"?>',
    '<?xml version="1.0" encoding="latin-1"?>',
    '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="nothing"?>',
    '<?xml version="1.0" encoding="cp037"?>',
    "<!DOCTYPE annotation>",
)


def bomb(levels: int = 9) -> str:
    """A file of a few hundred bytes that unfolds to 10 ** levels words ("billion laughs")."""
    entities = "".join(
        f'<!ENTITY e{number} "{f"&e{number - 1};" * 10 if number else "word"}">'
        for number in range(levels + 1)
    )
    return f"<!DOCTYPE a [{entities}]><annotation><name>&e{levels};</name></annotation>"


def write_tree(folder: Path) -> Path:
    """A VOC folder with one image and no annotation yet."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    (folder / "JPEGImages" / f"{STEM}.jpg").write_bytes(encoded(".jpg"))
    (folder / "ImageSets" / "Main" / "train.txt").write_text(f"{STEM}\n")
    return folder


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The bytes of an annotation file."""
    objects = []
    for _ in range(draw(st.integers(0, 3))):
        fields = dict(SOUND)
        if draw(st.booleans()):
            fields[draw(st.sampled_from(sorted(SOUND)))] = draw(st.sampled_from(VALUES))
        objects.append(OBJECT.format(**fields))
    nested = draw(st.sampled_from([0, 0, 0, 0, 0, 5000]))
    inner = "<part>" * nested + "".join(objects) + "</part>" * nested
    text = draw(st.sampled_from(HEADS)) + f"<annotation>{inner}</annotation>"
    kind = draw(st.sampled_from(["whole"] * 8 + ["cut", "byte", "bomb", "utf-16"]))
    if kind == "bomb":
        return bomb(draw(st.integers(1, 12))).encode()
    data = text.encode("utf-16" if kind == "utf-16" else "utf-8")
    if kind == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "byte":
        place = draw(st.integers(0, len(data) - 1))
        return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    return data


lists = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from([STEM, "000002", "../x", "/etc/passwd", "a\0b", "é", "..", "a" * 300, ""]),
        max_size=4,
    ).map(lambda stems: "\n".join(stems).encode()),
)
