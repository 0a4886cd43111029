"""Mutation testing: small faults are put into the code, one at a time; the tests should notice.

`make mutants`, or `python -m tests.mutants --help`. `walk` and `operators` make the faults,
`coverage` finds the tests that run a line, `trial` runs these tests on the faulty code.

mutmut 3 leaves decorated functions, class attributes and module constants alone and changes log
texts; cosmic-ray starts a Python (and torch, 4 s) and runs one fixed command for each mutant.
"""
