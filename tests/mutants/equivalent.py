"""Mutants of which it is shown that no test can notice them: (file, before, after)."""

EQUIVALENT: set[tuple[str, str, str]] = {
    # A row of targets has five columns: a slice that ends behind them is the same slice.
    ("yolox/families/yolox/loss.py", "5", "6"),
    ("yolox/families/yolox/loss.py", "5", "10"),
    # The last dimension is the default.
    ("yolox/families/yolox/simota.py", "ious.topk(top, dim=1)", "without dim"),
    ("yolox/families/yolox/simota.py", "cost.topk(top, dim=1, largest=False)", "without dim"),
    # An archive holds the names of its records besides their bytes.
    ("yolox/engine/archive.py", "total > path.stat().st_size", "total >= path.stat().st_size"),
}
