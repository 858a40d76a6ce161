"""Every number of the bundle computed again, with mpmath and flint and none of the solvers.

Modules here import nothing of prefeq outside `prefeq.bundle`: formulas are written out anew.
"""
