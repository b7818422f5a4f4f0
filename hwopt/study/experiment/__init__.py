"""Experiment files: sections, the search that one describes, retargeting."""
