"""The shared foundation: settings, errors, records, the spool's format, the store and the ledger.

All other packages import from `core`. It imports none of them, and contains no routes, no vLLM and no training.
"""
