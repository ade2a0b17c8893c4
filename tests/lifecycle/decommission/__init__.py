"""Decommissioning a group: its rules, whole runs, and every crash in them."""
