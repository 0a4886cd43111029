"""Which packages are installed, and under which names; all else is in pyproject.toml.

The folder `exps` is installed as `yolox.exps`: a package of its own name would collide with others.
"""

from pathlib import Path

from setuptools import find_packages, setup

EXPS = sorted({path.parent.name for path in Path(__file__).parent.glob("exps/*/*.py")})

setup(
    packages=[
        *find_packages(include=["yolox", "yolox.*"]),
        "yolox.exps",
        *(f"yolox.exps.{folder}" for folder in EXPS),
    ],
    package_dir={"yolox.exps": "exps"},
)
