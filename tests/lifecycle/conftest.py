"""What the tests of this package share."""

from tests.either_table import table, tables_at

__all__ = ["table", "tables_at"]
