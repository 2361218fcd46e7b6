"""The trainer: one process per training job."""
