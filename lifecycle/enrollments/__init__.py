"""Enrollments: what may be asked of them, and how they are changed without harm."""
