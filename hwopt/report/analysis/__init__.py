"""Contents of the figures and of the page, computed: data in, dataclasses and tables out, no drawing.

Values are in SI units and errors are shares; `hwopt.units` converts them where they are drawn.
"""
