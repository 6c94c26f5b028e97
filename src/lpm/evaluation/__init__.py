"""Metrics in mm, baselines, tables, figures and reports."""
