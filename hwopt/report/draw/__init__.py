"""Drawing of what `hwopt.report.analysis` computes, with plotly and with matplotlib: one module a figure."""
