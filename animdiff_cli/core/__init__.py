"""Pure decisions: no torch, no files, no clock."""
