"""Convert annotations: `yolox convert SRC --from yolo --to coco --images DIR --out DIR`.

SRC is a file or a folder, as the format has it: COCO's JSON; VOC's folder or split list; YOLO's
`data.yaml` (`data.yaml#val` for another split than train), `obj.data` or folder; a folder of JSON
files; a .tfrecord, CVAT XML or Open Images CSV file. Ends with the objects of each class that went
in and came out. --out must be empty or absent: what is written is there whole, or not at all.
"""

from pathlib import Path

from yolox.cli.arguments import Parser
from yolox.defaults import FORMATS, WRITABLE


def make_parser() -> Parser:
    """The flags."""
    parser = Parser("yolox convert", description=__doc__)
    parser.add_argument("source", metavar="SRC", help="what is read")
    parser.add_argument("--from", dest="source_format", required=True, choices=FORMATS)
    parser.add_argument("--to", dest="target_format", required=True, choices=WRITABLE)
    parser.add_argument("--images", type=Path, help="folder of the images (default: beside SRC)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--name", default="train2017", help="of the split that is written")
    parser.add_argument("--classes", nargs="+", help="in their order (default: SRC's)")
    parser.add_argument("--allow-outside", action="store_true", help="follow links out of --images")
    parser.add_argument("--no-copy", action="store_true", help="annotations only, no images")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.convert import run

    return run(args)
