"""What this kernel can do, found out by doing it."""

import os


def missing(feature):
    """Why a feature is not there at all; None when nothing says that it is not."""
    word = feature.split()[0]
    if word in ("kprobe", "kretprobe", "kprobe.multi") and not os.path.isdir("/sys/bus/event_source/devices/kprobe"):
        return "this kernel was built without kprobes: there is no /sys/bus/event_source/devices/kprobe"
    if word in ("uprobe", "usdt") and not os.path.isdir("/sys/bus/event_source/devices/uprobe"):
        return "this kernel was built without uprobes: there is no /sys/bus/event_source/devices/uprobe"
    if word == "tracepoint" and not os.path.isdir("/sys/kernel/tracing/events"):
        return "this kernel has no tracefs at /sys/kernel/tracing"
    return None
