"""Scheduled and event-driven care of enrollments and registrations."""
