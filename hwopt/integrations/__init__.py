"""Strategies and executors of other libraries, such as "optuna:tpe", each imported on first use.

Strategies are entry points of the group "hwopt.strategies" (see `hwopt.search.registry`). Each keeps the
budgets by the best means that its interface permits, and has the constraint-unaware form that every strategy
has. Nothing else needs them; a missing library is an error with the line that installs it.
"""
