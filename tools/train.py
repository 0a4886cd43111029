"""Train a detector: `python tools/train.py -f exps/p6/yolox_m_p6.py -d 4 -b 64 --fp16`."""

from yolox.cli.common import run
from yolox.cli.train import main

if __name__ == "__main__":
    raise SystemExit(run(main))
