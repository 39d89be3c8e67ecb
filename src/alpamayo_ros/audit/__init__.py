"""The audit log: what was decided, from what, and by what; append-only, and checked by recomputing."""
