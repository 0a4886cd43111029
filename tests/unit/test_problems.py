"""How problems of a data set are told."""

from yolox.data.problems import Problem, summary


def test_a_line_for_each_kind_counts_and_shows_the_first():
    found = [
        Problem("bad_box", 4, "a.jpg", "width 0"),
        Problem("zero_size", 5, "b.jpg", "area 0"),
        Problem("bad_box", 6, "c.jpg", "width -1"),
    ]
    assert summary(found) == [
        "2 x bad_box, first: annotation 4 of a.jpg: width 0",
        "1 x zero_size, first: annotation 5 of b.jpg: area 0",
    ]
