"""Experiments: the user's attribute bag, turned into validated specs."""

from yolox.exp.base import Exp
from yolox.exp.build import exp_of_checkpoint, get_exp

__all__ = ["Exp", "exp_of_checkpoint", "get_exp"]
