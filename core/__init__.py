"""The floor of the house: settings, errors, records, the spool's format, the store and the ledger.

Everything above imports from here; nothing here knows a route, vLLM or training.
"""
