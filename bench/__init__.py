"""Benchmarks: timings are measured here, with a description of the machine, and decide no test."""
