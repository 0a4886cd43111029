"""Non-maximum suppression as part of an ONNX graph, in standard operators.

The result is that of `yolox.ops.nms.postprocess` with the same thresholds: class-wise or not, the
best class of a point or every class of it, scores at least `conf`, `max_candidates` of them, and
the best `max_detections` of what is left.
"""

from typing import Any

import numpy as np

from yolox.backends.base import require_extra
from yolox.config import EvalSpec
from yolox.errors import UsageError

DECODED = "decoded"  # the name of the value that the suppression starts from

# What is common: boxes, and the scores of every class.
_SPLIT = """
    nms_0 = Constant<value = int64[1] {{0}}>()
    nms_1 = Constant<value = int64[1] {{1}}>()
    nms_2 = Constant<value = int64[1] {{2}}>()
    nms_4 = Constant<value = int64[1] {{4}}>()
    nms_5 = Constant<value = int64[1] {{5}}>()
    nms_end = Constant<value = int64[1] {{{end}}}>()
    nms_last = Constant<value = int64[1] {{-1}}>()
    nms_zero = Constant<value = float[1] {{0.0}}>()
    nms_half = Constant<value = float[1] {{0.5}}>()
    nms_none = Constant<value = float[1] {{-1.0}}>()
    nms_boxes = Slice(decoded, nms_0, nms_4, nms_2)
    nms_objectness = Slice(decoded, nms_4, nms_5, nms_2)
    nms_classes = Slice(decoded, nms_5, nms_end, nms_2)
    nms_scores = Mul(nms_objectness, nms_classes)
"""

# [B, classes, A] scores that compete within a class; `nms_label` [B, A] where a point has one.
_BEST = """
    nms_label_column = ArgMax<axis = -1, keepdims = 1>(nms_classes)
    nms_label = Squeeze(nms_label_column, nms_last)
"""
_BEST_OF_CLASS = """
    nms_every_class = Constant<value = int64[{classes}] {{{numbers}}}>()
    nms_is_best = Equal(nms_label_column, nms_every_class)
    nms_competing = Where(nms_is_best, nms_scores, nms_zero)
    nms_candidates = Transpose<perm = [0, 2, 1]>(nms_competing)
"""
_BEST_OF_ALL = """
    nms_competing = ReduceMax<keepdims = 1>(nms_scores, nms_last)
    nms_candidates = Transpose<perm = [0, 2, 1]>(nms_competing)
"""
_EVERY_CLASS = """
    nms_candidates = Transpose<perm = [0, 2, 1]>(nms_scores)
"""

# Those that are compared: all of them, or the best ones.
_ALL_CANDIDATES = """
    nms_by_class = Identity(nms_candidates)
"""
_FEW_CANDIDATES = """
    nms_few = Constant<value = int64[1] {{{candidates}}}>()
    nms_rows = Constant<value = int64[2] {{0, -1}}>()
    nms_in_row = Reshape(nms_candidates, nms_rows)
    nms_there_are = Shape<start = 1, end = 2>(nms_in_row)
    nms_taken = Min(nms_few, nms_there_are)
    nms_best_scores, nms_best_places = TopK<axis = 1>(nms_in_row, nms_taken)
    nms_least = ReduceMin<keepdims = 1>(nms_best_scores, nms_last)
    nms_least_column = Unsqueeze(nms_least, nms_last)
    nms_is_taken = GreaterOrEqual(nms_candidates, nms_least_column)
    nms_by_class = Where(nms_is_taken, nms_candidates, nms_zero)
"""

# Survivors' scores in a table of zeros, [B, A] or [B, classes * A].
_SUPPRESS = """
    nms_most = Constant<value = int64[1] {{{most}}}>()
    nms_iou = Constant<value = float[1] {{{iou!r}}}>()
    nms_conf = Constant<value = float[1] {{{conf!r}}}>()
    nms_kept = NonMaxSuppression<center_point_box = 1>
        (nms_boxes, nms_by_class, nms_most, nms_iou, nms_conf)
    nms_values = GatherND(nms_by_class, nms_kept)
"""
_ONE_PER_POINT = """
    nms_columns = Constant<value = int64[2] {{0, 2}}>()
    nms_where = Gather<axis = 1>(nms_kept, nms_columns)
    nms_shape = Shape(nms_label)
    nms_table_zero = ConstantOfShape(nms_shape)
    nms_table = ScatterND(nms_table_zero, nms_where, nms_values)
"""
_MANY_PER_POINT = """
    nms_shape = Shape(nms_by_class)
    nms_table_zero = ConstantOfShape(nms_shape)
    nms_table_3d = ScatterND(nms_table_zero, nms_kept, nms_values)
    nms_flat = Constant<value = int64[2] {{0, -1}}>()
    nms_table = Reshape(nms_table_3d, nms_flat)
"""

# The best `most` entries of the table; it is made longer first, so that it has as many.
_RANK = """
    nms_batch = Shape<start = 0, end = 1>(decoded)
    nms_points = Shape<start = 1, end = 2>(decoded)
    nms_width = Shape<start = 1, end = 2>(nms_table)
    nms_filler_shape = Concat<axis = 0>(nms_batch, nms_most)
    nms_filler = ConstantOfShape(nms_filler_shape)
    nms_longer = Concat<axis = 1>(nms_table, nms_filler)
    nms_top, nms_order = TopK<axis = 1>(nms_longer, nms_most)
    nms_limit = Sub(nms_width, nms_1)
    nms_entry = Min(nms_order, nms_limit)
"""
_LABEL_OF_POINT = """
    nms_point = Identity(nms_entry)
    nms_class = GatherElements<axis = 1>(nms_label, nms_point)
"""
_LABEL_OF_ENTRY = """
    nms_point = Mod(nms_entry, nms_points)
    nms_class = Div(nms_entry, nms_points)
"""
_GATHER = """
    nms_row = Unsqueeze(nms_point, nms_last)
    nms_picked = GatherND<batch_dims = 1>(nms_boxes, nms_row)
    nms_centre = Slice(nms_picked, nms_0, nms_2, nms_2)
    nms_extent = Slice(nms_picked, nms_2, nms_4, nms_2)
    nms_reach = Mul(nms_extent, nms_half)
    nms_low = Sub(nms_centre, nms_reach)
    nms_high = Add(nms_centre, nms_reach)
    nms_score = Unsqueeze(nms_top, nms_last)
    nms_there = Greater(nms_score, nms_zero)
    nms_class_number = Cast<to = 1>(nms_class)
    nms_class_column = Unsqueeze(nms_class_number, nms_last)
    nms_final_class = Where(nms_there, nms_class_column, nms_none)
    nms_corners = Concat<axis = 2>(nms_low, nms_high)
    nms_final_box = Where(nms_there, nms_corners, nms_zero)
    {output} = Concat<axis = 2>(nms_final_box, nms_score, nms_final_class)
"""


def require_operators(spec: EvalSpec) -> None:
    """Raises UsageError for a suppression that no standard operator does."""
    if spec.max_detections < 1:
        raise UsageError(f"NMS in the graph needs max_detections, not {spec.max_detections}")
    for key in ("soft_nms", "min_class_ratio", "min_objectness_ratio"):
        if getattr(spec, key):
            raise UsageError(f"NMS in the graph cannot do {key} {getattr(spec, key)}")
    if spec.class_agnostic and spec.multi_class:
        raise UsageError("NMS in the graph is either class-agnostic or multi-class")


def append_nms(content: Any, spec: EvalSpec, classes: int, output: str) -> Any:
    """A model whose output `decoded` [B, A, 5 + C] is followed by suppression.

    The new output is [B, K, 6]: x1, y1, x2, y2, score, class; zeros and class -1 after the last.
    spec: one that `require_operators` takes.
    """
    onnx = require_extra("onnx", "onnx")
    graph = onnx.parser.parse_graph(_text(spec, classes, output))
    opset = next(item.version for item in content.opset_import if item.domain == "")
    tail = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=content.ir_version
    )
    return onnx.compose.merge_models(
        content, tail, [(DECODED, DECODED)], producer_name=content.producer_name
    )


def _text(spec: EvalSpec, classes: int, output: str) -> str:
    """The graph in ONNX's text syntax."""
    competing = _EVERY_CLASS if spec.multi_class else _BEST
    if not spec.multi_class:
        competing += _BEST_OF_ALL if spec.class_agnostic else _BEST_OF_CLASS
    competing += _FEW_CANDIDATES if spec.max_candidates else _ALL_CANDIDATES
    table = _MANY_PER_POINT if spec.multi_class else _ONE_PER_POINT
    label = _LABEL_OF_ENTRY if spec.multi_class else _LABEL_OF_POINT
    body = (_SPLIT + competing + _SUPPRESS + table + _RANK + label + _GATHER).format(
        end=classes + 5,
        classes=classes,
        numbers=", ".join(map(str, range(classes))),
        most=spec.max_detections,
        candidates=spec.max_candidates,
        iou=float(np.float32(spec.nms)),
        # The operator keeps scores above the threshold; ours are at least as high.
        conf=max(float(np.nextafter(np.float32(spec.conf), np.float32(-1.0))), 0.0),
        output=output,
    )
    head = (
        f"nms (float[B, A, {classes + 5}] decoded) => (float[B, {spec.max_detections}, 6] {output})"
    )
    return f"{head} {{{body}}}"
