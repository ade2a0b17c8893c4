"""Registration records that no device stands behind, found and removed without hurting a live one."""
