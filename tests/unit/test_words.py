"""The sentences at the end of a compression."""

import pytest

from yolox.compress.report.measure import ReportRow
from yolox.compress.report.words import plain_words


def row(name, ap, macs=1e9, **more):
    return ReportRow(name, ap, ap, 1000, 1000, macs, 4000, **more)


def test_what_was_won():
    dense = row("dense", 0.5, latency_ms={"torch": 10.0, "openvino": 6.0})
    small = row("merged", 0.5, 5e8, latency_ms={"torch": 8.0})
    small.nonzero_params, small.file_bytes = 250, 1000
    won = plain_words([dense, small], tuned=True)[0]
    assert won == (
        "Won: 50% of the MACs, 25% of the weights and 25% of the file are left; "
        "it is 1.25 times as fast in torch."
    )


def test_the_cost_is_that_against_the_control_where_there_is_one():
    dense, control, small = row("dense", 0.4), row("control", 0.46), row("merged", 0.44)
    small.AP_differences = {"control": {"value": -0.02, "low": -0.035, "high": -0.004}}
    cost = plain_words([dense, control, small], tuned=True)[1]
    assert "0.0200 below the 0.4600 of the dense model tuned as long" in cost
    assert "(95 %: -0.035 to -0.004)" in cost
    assert "0.0400 above the dense model's 0.4000" in cost
    assert "--control" not in cost
    alone = plain_words([dense, small], tuned=True)[1]
    assert "0.0400 above the dense model's 0.4000" in alone
    assert "--control measures it" in alone


@pytest.mark.parametrize(
    ("ap", "tuned", "said"),
    [(0.395, True, None), (0.38, True, "--pictures"), (0.38, False, "--no-recover")],
)
def test_advice_where_it_cost_more_than_a_little(ap, tuned, said):
    words = plain_words([row("dense", 0.4), row("merged", ap)], tuned=tuned)
    assert len(words) == (3 if said else 2)
    assert said is None or said in words[2]


def test_nothing_is_said_of_an_ap_that_was_not_measured():
    words = plain_words([row("dense", None), row("merged", None)], tuned=True)
    assert len(words) == 2
    assert "not measured" in words[1]
