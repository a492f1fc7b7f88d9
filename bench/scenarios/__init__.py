"""One scenario a file: each module in here has a ``SCENARIO``."""

from __future__ import annotations

import importlib
import pkgutil

from bench.harness import Scenario

__all__ = ["load_scenarios"]


def load_scenarios() -> dict[str, Scenario]:
    """Return every scenario: name -> scenario."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    scenarios: list[Scenario] = [module.SCENARIO for module in modules]
    return {scenario.name: scenario for scenario in scenarios}
