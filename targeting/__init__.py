"""Proposes: procedures, targets, needles, clearance, search, uncertainty, lesion, simulated fluoroscopy."""
