"""Benchmarks: paired runs on one machine, printed as ratios. ``python -m bench [ROW...]``; results in docs/performance.md."""
