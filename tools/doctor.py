"""Check a data set: `python tools/doctor.py --data DIR --json FILE --name SUBFOLDER`."""

from yolox.cli.common import run
from yolox.cli.doctor import main

if __name__ == "__main__":
    raise SystemExit(run(main))
