"""Experiments: the user's attribute bag, turned into validated specs."""

from yolox.exp.base import Exp
from yolox.exp.build import get_exp

__all__ = ["Exp", "get_exp"]
