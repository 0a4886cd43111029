"""The search for a plan by what was measured of others: interpolation within a bracket."""

from collections.abc import Mapping

from compress.choose.plan import Planner

EDGE = 0.1  # of the bracket: no guess is closer to its ends, so that every one makes it smaller


def next_number(planner: Planner, shares: Mapping[int, float]) -> int | None:
    """The number of units gone to measure next, None where there is nothing left to try.

    shares: measured time over the budget, by the number of units gone; that of the dense model, 0,
    is over 1. Time is taken to fall roughly with the MACs; of several places where it crosses the
    budget the one with the fewest units gone is looked for.
    """
    below = min((number for number, share in shares.items() if share <= 1), default=None)
    if below is None:
        return None
    above = max(number for number, share in shares.items() if share > 1 and number < below)

    def size(number: int) -> float:
        return planner.cost(number).macs

    part = (shares[above] - 1) / (shares[above] - shares[below])
    part = min(max(part, EDGE), 1 - EDGE)
    wanted = size(above) + part * (size(below) - size(above))
    guess = planner.least_cut(lambda number: size(number) <= wanted)
    for number in (guess, (above + below) // 2):
        if above < number < below and size(number) not in (size(above), size(below)):
            return number
    return None
