"""The deployment run: `python main.py --config configs/yolox_m_p6_sparse.json`."""

from yolox.cli.common import run
from yolox.cli.deploy import main

if __name__ == "__main__":
    raise SystemExit(run(main))
