"""Find an experiment by file or by name."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from loguru import logger

from yolox.config import nearest
from yolox.errors import UsageError
from yolox.exp.base import BaseExp
from yolox.values import shown

PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED = PACKAGE / "exps"  # where setup.py puts them; a checkout has them beside the package
SPEAKING = ("default", "p6", "demo")  # folders whose files need no folder's name before theirs
EXPS_DIR = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "exps"


def get_exp(exp_file: str | None = None, exp_name: str | None = None) -> BaseExp:
    """The experiment of a file, or the shipped one of a name such as `yolox-s` or `yolox-m-p6`.

    Raises UsageError where neither or both are given, the file is absent or holds no `Exp`, or the
    name is unknown.
    """
    if (exp_file is None) == (exp_name is None):
        raise UsageError("name one experiment: -f FILE or -n NAME")
    path = Path(exp_file) if exp_file is not None else _by_name(str(exp_name))
    if not path.is_file():
        raise UsageError(f"experiment file {path} does not exist")
    module = _import(path)
    factory = getattr(module, "Exp", None)
    if not (isinstance(factory, type) and issubclass(factory, BaseExp)):
        raise UsageError(
            f"experiment file {path} defines no class Exp derived from yolox.exp.Exp (or BaseExp)"
        )
    exp = _made(factory, path)
    exp._file = str(path.resolve()) if exp_file is not None else None
    exp._name = exp_name or shipped_as(path)
    if "exp_name" not in vars(exp):
        exp.exp_name = (shipped_as(path) or path.stem).replace("-", "_")
    _warn_of_typos(exp, path)
    return exp


def shipped_names() -> list[str]:
    """Names that `-n` takes."""
    return sorted(_shipped())


def _shipped() -> dict[str, Path]:
    """The shipped experiment files by name."""
    return {str(shipped_as(path)): path for path in EXPS_DIR.glob("*/*.py")}


def shipped_as(path: Path) -> str | None:
    """The name of an experiment file that is shipped: found so on any machine.

    A file's own name, behind that of its folder where it says little without it.
    """
    if EXPS_DIR not in path.resolve().parents:
        return None
    folder = path.resolve().parent.name
    name = path.stem if folder in SPEAKING else f"{folder}_{path.stem}"
    return name.replace("_", "-")


def _by_name(name: str) -> Path:
    shipped = _shipped()
    if (path := shipped.get(name.replace("_", "-"))) is not None:
        return path
    known = sorted(shipped)
    raise UsageError(
        f"unknown experiment {shown(name)}{nearest(name, known)} (known: {', '.join(known)})"
    )


def _import(path: Path) -> ModuleType:
    """Run an experiment file. Its folder is importable, as for YOLOX."""
    spec = importlib.util.spec_from_file_location(f"exp_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"experiment file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"experiment file {path}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return module


def _made(factory: type[BaseExp], path: Path) -> BaseExp:
    try:
        return factory()
    except Exception as error:
        raise UsageError(f"experiment file {path}: {type(error).__name__}: {error}") from error


def _warn_of_typos(exp: BaseExp, path: Path) -> None:
    """A file may add attributes of its own; one that is nearly a known name is worth a word."""
    known = [key for key in get_type_hints(type(exp)) if not key.startswith("_")]
    for key in vars(exp):
        if key not in known and not key.startswith("_"):
            hint = nearest(key, known)
            if hint:
                logger.warning("{}: attribute {!r} is not an option{}", path, key, hint)
