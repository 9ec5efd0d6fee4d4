"""Benchmarks: every answer is checked before a time is printed.

Run as ``python -m benchmarks peers|floor|scale|nerve|memory|table``. Linux only: memory is read
from ``/proc``. Results are JSON lines in ``benchmarks/results/``, one per sample.
"""
