"""Targets and the addresses behind them (gRPC name resolution)."""

from quicrpc.client.resolver.target import Target, parse_target, resolve

__all__ = ["Target", "parse_target", "resolve"]
