"""Mutants of which it is shown that no test can notice them: (file, before, after)."""

EQUIVALENT: set[tuple[str, str, str]] = {
    # A row of targets has five columns: a slice that ends behind them is the same slice.
    ("yolox/losses/yolox_loss.py", "5", "6"),
    ("yolox/losses/yolox_loss.py", "5", "10"),
    # The last dimension is the default.
    ("yolox/losses/simota.py", "ious.topk(top, dim=1)", "ious.topk(top)"),
    (
        "yolox/losses/simota.py",
        "cost.topk(top, dim=1, largest=False)",
        "cost.topk(top, largest=False)",
    ),
    # An archive holds the names of its records besides their bytes.
    ("yolox/engine/archive.py", "total > path.stat().st_size", "total >= path.stat().st_size"),
}
