"""Proofs too long for the test suite: validation on real scans (`benchmarks.validate`) and timings."""
