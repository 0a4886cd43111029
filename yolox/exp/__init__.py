"""Experiments: the user's attribute bag, turned into validated specs."""

from yolox.exp.base import BaseExp
from yolox.exp.build import get_exp
from yolox.exp.options import options_of
from yolox.exp.stored import exp_of_checkpoint, set_stored_options
from yolox.exp.yolox import Exp

__all__ = ["BaseExp", "Exp", "exp_of_checkpoint", "get_exp", "options_of", "set_stored_options"]
