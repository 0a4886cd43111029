"""Every step that YOLOX has, too, in one table: `make bench DATA=COCO128 [OFFICIAL=FOLDER]`.

DATA is a COCO folder with train2017 and val2017; without OFFICIAL (pip install --no-deps --target
FOLDER pixeltable-yolox) there is nothing to compare with.
"""

import argparse
from itertools import chain
from pathlib import Path

import accuracy_time
import end_to_end
import input_pipeline
import official_step
import rectangles
import start_up
import workers_memory
from table import show, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a COCO folder")
    parser.add_argument("--official", type=Path, help="folder with official YOLOX")
    args = parser.parse_args()
    data, official = args.data, args.official
    steps = (
        start_up.rows(data, official),
        input_pipeline.rows(data, official),
        official_step.rows(data, official),
        workers_memory.rows(data, official),
        accuracy_time.rows(),
        end_to_end.rows(data, official),
        rectangles.rows(data),
    )
    print("\n" + table(show(chain(*steps))))


if __name__ == "__main__":
    main()
