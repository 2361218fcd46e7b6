"""What users say of the answers: routes that take it, ingest, splits and snapshots.

It knows interactions only by their id and never speaks to an engine.
"""
