"""What operators type: one file per noun; parse, call, print."""
