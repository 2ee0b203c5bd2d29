"""Widgets: the browser of what can be traced, the map explorer, the stepper, the pipeline view, the control-flow graph."""

from .browser import Browser, browse
from .cfg import ControlFlow, control_flow
from .explorer import Explorer, explore
from .pipeline import Pipeline, pipeline
from .stepper import Stepper, step

__all__ = ["Browser", "ControlFlow", "Explorer", "Pipeline", "Stepper", "browse", "control_flow", "explore", "pipeline", "step"]
