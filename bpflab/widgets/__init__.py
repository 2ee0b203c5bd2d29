"""Widgets: the map explorer, the stepper, the pipeline view, the control-flow graph, the flame graph."""

from .cfg import ControlFlow, control_flow
from .explorer import Explorer, explore
from .flamegraph import FlameGraph, flamegraph
from .pipeline import Pipeline, pipeline
from .stepper import Stepper, step

__all__ = [
    "ControlFlow",
    "Explorer",
    "FlameGraph",
    "Pipeline",
    "Stepper",
    "control_flow",
    "explore",
    "flamegraph",
    "pipeline",
    "step",
]
