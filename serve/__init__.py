"""The data plane: OpenAI routes, routing, capture, and the engines behind them.

It reads the routing table and never decides its content.
"""
