"""Numbers about the whole installation: queues, times, sources, failures, and how the model does on these patients."""
