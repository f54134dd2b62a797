"""gridd-worker: takes jobs from a queue, runs them, reports back."""
