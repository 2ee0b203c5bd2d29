"""Widgets: the map explorer, the stepper, the pipeline view, the control-flow graph."""

from .cfg import ControlFlow, control_flow
from .explorer import Explorer, explore
from .pipeline import Pipeline, pipeline
from .stepper import Stepper, step

__all__ = ["ControlFlow", "Explorer", "Pipeline", "Stepper", "control_flow", "explore", "pipeline", "step"]
