"""Widgets: the browser of what can be traced, the map explorer, live events, the flame graph, the stepper, the pipeline view, the control-flow graph."""

from .browser import Browser, browse
from .cfg import ControlFlow, control_flow
from .explorer import Explorer, explore
from .flamegraph import FlameGraph, flamegraph
from .live import Live, live
from .pipeline import Pipeline, pipeline
from .stepper import Stepper, step

__all__ = [
    "Browser",
    "ControlFlow",
    "Explorer",
    "FlameGraph",
    "Live",
    "Pipeline",
    "Stepper",
    "browse",
    "control_flow",
    "explore",
    "flamegraph",
    "live",
    "pipeline",
    "step",
]
