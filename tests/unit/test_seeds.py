"""A metric over training runs."""

import json
import math

import pytest

from tests.pipeline.runs import error_line
from yolox.cli.common import run
from yolox.cli.seeds import main
from yolox.eval.seeds import over_runs, t_quantile


def test_the_mean_and_its_interval_are_students():
    found = over_runs([0.30, 0.32, 0.34])
    assert found.mean == pytest.approx(0.32)
    assert found.n == 3
    assert found.high - found.mean == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert math.isnan(over_runs([0.3]).low)
    with pytest.raises(ValueError, match="no runs"):
        over_runs([])


@pytest.mark.parametrize(
    ("freedoms", "value"),
    [(1, 12.706205), (2, 4.302653), (3, 3.182446), (4, 2.776445), (9, 2.262157), (30, 2.042272)],
)
def test_quantiles_are_those_of_the_tables(freedoms, value):
    assert t_quantile(freedoms) == pytest.approx(value, abs=1e-6)


def test_files_of_evaluations_become_a_table(tmp_path, capsys):
    paths = []
    for number, ap in enumerate((0.3, 0.4)):
        paths.append(str(tmp_path / f"{number}.json"))
        content = {"AP": ap, "AP50": 0.5, "AP_small": None, "voc_11": {"AP": ap + 0.1}}
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    assert run(main, paths) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["AP", "AP50", "voc_11 AP"]
    assert "0.3500" in lines[0]
    assert "0.3000 0.4000" in lines[0]
    (tmp_path / "0.json").write_text("{}")
    assert run(main, paths) == 3
    assert "0.json is no result of an evaluation" in error_line(capsys)
    assert run(main, [paths[1], paths[1]]) == 2
