"""Computation of the contents of figures and of the HTML page: dataclasses and tables, without drawing.

Values are in SI units and errors are shares; `hwopt.units` converts them for drawing.
"""
