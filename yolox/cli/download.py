"""Download data sets and weights: `yolox download voc2007|voc2012|coco|yolox_nano ...`.

Official archives, over HTTP: a transfer that broke off goes on where it stopped, a file that is
there already and sound is left alone, and archives are unpacked beside it. Nothing is fetched
before the space on the disk is seen to be enough. Licences are those of the publishers.
"""

import argparse
from pathlib import Path

from loguru import logger

from yolox.cli.arguments import Parser
from yolox.data.download import KNOWN, Download, fetch, unpack
from yolox.errors import UsageError


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = Parser(
        "yolox download", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(KNOWN))
    parser.add_argument("--out", type=Path, help="folder (default: datasets or weights)")
    parser.add_argument("--keep", action="store_true", help="keep archives after unpacking them")
    args = parser.parse(argv)
    for name in args.names:
        if name not in KNOWN:
            raise UsageError(f"yolox download: {name!r} is none of {', '.join(KNOWN)}")
    for name in args.names:
        for item in KNOWN[name]:
            _get(item, args.out or Path(item.folder), args.keep)
    return 0


def _get(item: Download, folder: Path, keep: bool) -> None:
    if item.holds is not None and (folder / item.holds).exists():
        logger.info("{} is there already", folder / item.holds)
        return
    logger.info("{}: {}", item.url, item.licence)
    path = fetch(item, folder)
    if item.holds is None:
        return
    unpack(path, folder)
    if not keep:
        path.unlink()
    logger.info("-> {}", folder / item.holds)
