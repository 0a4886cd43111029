"""Experiments: the user's attribute bag, turned into validated specs."""

from yolox.exp.base import Exp
from yolox.exp.build import get_exp
from yolox.exp.stored import exp_of_checkpoint, set_stored_options

__all__ = ["Exp", "exp_of_checkpoint", "get_exp", "set_stored_options"]
