"""Validation of cost models: error metrics, cross-validation, measurement drift."""
