"""What can be traced on a lab machine: all of its names, their arguments, and cells that trace them."""

from .catalog import KINDS, Catalog, Place, catalog
from .near import near
from .search import events

__all__ = ["KINDS", "Catalog", "Place", "catalog", "events", "near"]
