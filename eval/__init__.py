"""Judgement: KPIs, arms, gates, promotion and rollback.

Import from it, never bare (`from eval.gates import decide`): the name shadows a builtin.
"""
