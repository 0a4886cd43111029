"""Several sizes of one model, and the smallest that is good enough."""

import json

import pytest

from yolox.compress.condition import Condition
from yolox.compress.frontier import Point, beside, pick
from yolox.compress.report.frontier import frontier_table, share_of, write_frontier
from yolox.compress.report.measure import ReportRow
from yolox.errors import DataError, UsageError, YoloxError


def point(name, ap, macs=1.0, **more):
    return Point(name, ap, None, None, macs, macs, macs, **more)


POINTS = [
    point("dense", 0.40),
    point("control", 0.42),
    point("macs 0.8", 0.41, 0.8),
    point("macs 0.5", 0.39, 0.5, time={"torch": 0.7}),
    point("macs 0.3", 0.33, 0.3),
]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("AP>=0.95*dense", "macs 0.5"),
        ("AP >= .95 * control", "macs 0.8"),
        ("AP>=0.3", "macs 0.3"),
        ("AP>=1*dense", "macs 0.8"),
    ],
)
def test_the_smallest_that_holds_is_picked(text, name):
    assert pick(POINTS, Condition.parse(text)).name == name


def test_what_cannot_be_picked_is_said():
    with pytest.raises(YoloxError, match=r"no model of the frontier has AP 0\.4200") as error:
        pick(POINTS, Condition.parse("AP>=1*control"))
    assert error.value.exit_code == 1
    with pytest.raises(UsageError, match="the AP of control was not measured"):
        pick([POINTS[0], POINTS[2]], Condition.parse("AP>=0.9*control"))
    for text in ("AP>0.4", "mAP>=1", "AP>=0.9*teacher", "AP>=-1"):
        with pytest.raises(UsageError, match="is not of the form"):
            Condition.parse(text)


def test_other_reports_stand_beside(tmp_path):
    rows = [
        ReportRow("dense", 0.4, 0.6, 100, 100, 1e9, 400, latency_ms={"torch": 8.0}),
        ReportRow("merged", 0.3, 0.5, 40, 20, 4e8, 100, latency_ms={"torch": 6.0, "x": 1.0}),
    ]
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"stages": [row.as_json() for row in rows]}))
    for name in (path, tmp_path):
        (found,) = beside([f"peer={name}"])
        assert (found.name, found.AP) == ("peer", 0.3)
        assert (found.params, found.macs, found.file) == (0.2, 0.4, 0.25)
        assert found.time == {"torch": 0.75}
    with pytest.raises(UsageError, match="is not NAME=REPORT"):
        beside([str(path)])
    path.write_text('{"stages": [{"name": "dense"}]}')
    with pytest.raises(DataError, match=r"report\.json is not a compression report"):
        beside([f"peer={path}"])


def test_what_is_written(tmp_path):
    write_frontier(tmp_path, POINTS, [point("peer", 0.3, 0.5)], POINTS[3])
    content = json.loads((tmp_path / "frontier.json").read_text())
    assert [p["name"] for p in content["points"]] == [p.name for p in POINTS]
    assert content["picked"] == "macs 0.5"
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    line = next(x for x in frontier_table(POINTS).splitlines() if "macs 0.5" in x)
    assert [cell.strip() for cell in line.split("|")[2:8]] == ["0.3900", "", *["50.0%"] * 3, "0.70"]


def test_shares_of_a_panel():
    small = Point("p", 0.1, None, None, 0.2, 0.3, 0.4, {"torch": 0.5})
    assert [share_of(small, key) for key in ("MACs", "file", "torch", "x")] == [0.3, 0.4, 0.5, None]


def test_no_picture_without_ap(tmp_path):
    write_frontier(tmp_path, [point("dense", None), point("macs 0.5", None, 0.5)], [], None)
    assert (tmp_path / "frontier.json").is_file()
    assert not (tmp_path / "frontier.png").exists()
