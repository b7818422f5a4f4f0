"""Drawing of the results of `hwopt.report.analysis` with plotly and matplotlib: one module per figure."""
