"""Weights of the package `effdet` under the names of this family."""

import re
from collections.abc import Mapping

from torch import Tensor

FOREIGN = "class_net.predict.conv_pw.weight"  # a key that only effdet's weights have

# Patterns of its names, and ours; tried in turn, the first that fits counts.
PATTERNS = tuple(
    (re.compile(pattern), own)
    for pattern, own in (
        (r"backbone\.(.*\bbn\d+)\.(\w+)", r"backbone.\1.norm.\2"),
        (r"(backbone\..*)", r"\1"),
        (r"fpn\.resample\.3\.conv\.conv\.(\w+)", r"pyramid.coarser.conv.\1"),
        (r"fpn\.resample\.3\.conv\.bn\.(\w+)", r"pyramid.coarser.norm.\1"),
        (
            r"fpn\.cell\.(\d+)\.fnode\.(\d+)\.combine\.resample\.(\d+)\.conv\.conv\.(\w+)",
            r"pyramid.cells.\1.projections.\2_\3.conv.\4",
        ),
        (
            r"fpn\.cell\.(\d+)\.fnode\.(\d+)\.combine\.resample\.(\d+)\.conv\.bn\.(\w+)",
            r"pyramid.cells.\1.projections.\2_\3.norm.\4",
        ),
        (
            r"fpn\.cell\.(\d+)\.fnode\.(\d+)\.combine\.edge_weights",
            r"pyramid.cells.\1.nodes.\2.shares",
        ),
        (
            r"fpn\.cell\.(\d+)\.fnode\.(\d+)\.after_combine\.conv\.conv_dw\.(\w+)",
            r"pyramid.cells.\1.nodes.\2.conv.depthwise.\3",
        ),
        (
            r"fpn\.cell\.(\d+)\.fnode\.(\d+)\.after_combine\.conv\.conv_pw\.(\w+)",
            r"pyramid.cells.\1.nodes.\2.conv.pointwise.\3",
        ),
        (
            r"fpn\.cell\.(\d+)\.fnode\.(\d+)\.after_combine\.conv\.bn\.(\w+)",
            r"pyramid.cells.\1.nodes.\2.norm.\3",
        ),
        (r"class_net\.(.*)", r"head.cls.\1"),
        (r"box_net\.(.*)", r"head.box.\1"),
    )
)
IN_HEAD = (
    (re.compile(r"\.conv_rep\.(\d+)\."), r".tower.\1."),
    (re.compile(r"\.bn_rep\.(\d+)\.(\d+)\.bn\."), r".norms.\1.\2."),
    (re.compile(r"\.conv_dw\.(\w+)$"), r".depthwise.\1"),
    (re.compile(r"\.conv_pw\.(\w+)$"), r".pointwise.\1"),
)


def own_names(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state of `effdet` by our names; any other one, and what no pattern fits, as it is."""
    if FOREIGN not in state:
        return state
    return {own_name(key): value for key, value in state.items()}


def own_name(key: str) -> str:
    """Our name of one of its tensors."""
    for pattern, own in PATTERNS:
        if pattern.fullmatch(key):
            name = pattern.sub(own, key)
            break
    else:
        return key
    if name.startswith("head."):
        for pattern, own in IN_HEAD:
            name = pattern.sub(own, name)
    return name
