"""The audit: named checks over what DPS, its hubs and our own tables hold, with evidence and the fix."""
