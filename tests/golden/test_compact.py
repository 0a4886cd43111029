"""The committed reference numbers are those of the full outputs, where these are at hand."""

import numpy as np

from tests.golden.compact import compact
from tests.golden.reference import DATA, load_arrays, load_json


def test_committed_numbers_are_those_of_the_full_outputs(golden_dir, tmp_path):
    compact(golden_dir, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in DATA.iterdir())
    for name in names:
        stem, kind = name.split(".", 1)
        if kind == "npz":
            np.testing.assert_equal(load_arrays(stem), load_arrays(stem, tmp_path))
        else:
            assert load_json(stem) == load_json(stem, tmp_path)
