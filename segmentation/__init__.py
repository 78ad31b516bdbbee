"""Isolates: vertebrae, levels, landmarks, nerve courses and the structures a needle must avoid."""
