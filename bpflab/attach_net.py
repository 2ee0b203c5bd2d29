"""Where a program that handles packets and connections is attached: interfaces, control groups, namespaces, sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import kinds, tcx
from .interfaces import name_of, netns_of
from .link import Link

if TYPE_CHECKING:
    from .map import Map

XDP_MODES = {None: 0, "generic": 1 << 1, "native": 1 << 2, "offload": 1 << 3}  # XDP_FLAGS_*, linux/if_link.h
_ATTACH = {name: number for number, name in enumerate(kinds.ATTACH_TYPES)}


class AttachNet:
    """The `attach_...` methods of a `Program` that have to do with networks and control groups."""

    def attach_xdp(self, dev, mode: str | None = None) -> Link:
        """An interface, before the network stack.

        Parameters
        ----------
        dev : Device or str
            Of a `netlab`, or the name of an interface of the lab machine itself.
        mode : {None, "native", "generic", "offload"}
            None lets the kernel choose. On a veth, what a native program sends back (XDP_TX) is delivered only where the
            other end has an XDP program too, if only one that passes (veth_xdp_flush in drivers/net/veth.c).
        """
        if mode not in XDP_MODES:
            raise ValueError(f"mode is native, generic or offload, not {mode!r}")
        feature = f"XDP {mode}" if mode else "XDP"
        return self._on_dev(dev, f"XDP on {name_of(dev)}", feature, "xdp", XDP_MODES[mode])

    def attach_tcx(
        self, dev, direction: str = "ingress", *, before: Link | str | None = None, after: Link | str | None = None
    ) -> Link:
        """An interface, where traffic control sits, as a link (tcx, since 6.6).

        Parameters
        ----------
        before, after : Link or "all", optional
            Where it stands among the tcx programs of this place; after all of them when neither is given.
        """
        return self._on_dev(
            dev, f"tcx {tcx.checked(direction)} of {name_of(dev)}", "tcx", f"tcx_{direction}", *tcx.order(before, after)
        )

    def attach_tc(self, dev, direction: str = "ingress") -> Link:
        """The same place the old way: a direct-action filter on a clsact qdisc."""
        ingress = tcx.checked(direction) == "ingress"
        target = f"tc {direction} of {name_of(dev)}"
        return self._attach(target, "tc", "links.clsact", self.fd, netns_of(dev, self._lab), name_of(dev), ingress)

    def _on_dev(self, dev, target: str, feature: str, attach_type: str, flags: int, beside: int = 0) -> Link:
        arguments = (self.fd, netns_of(dev, self._lab), name_of(dev), _ATTACH[attach_type], flags, beside)
        return self._attach(target, feature, "links.create_dev", *arguments)

    def attach_cgroup(self, cgroup, attach_type: str | None = None) -> Link:
        """A control group: every process in it and below it.

        Parameters
        ----------
        cgroup : Cgroup or str
            Of `Lab.cgroup`, or a path.
        attach_type : str, optional
            Where SEC() does not say: SEC("cgroup/skb") goes to "cgroup_inet_egress" or "cgroup_inet_ingress".
        """
        getattr(cgroup, "fd", None)  # raises when the group was removed
        if not attach_type and self.section == "cgroup/skb":
            raise TypeError(
                f"program '{self.name}' is SEC(\"cgroup/skb\"), which does not say the direction: "
                'attach_cgroup(cgroup, "cgroup_inet_egress") or "cgroup_inet_ingress"'
            )
        path = getattr(cgroup, "path", cgroup)
        kind = kinds.number_of(kinds.ATTACH_TYPES, attach_type or self.attach_type, "attach type")
        target = f"{kinds.ATTACH_TYPES[kind]} of {path}"
        return self._attach(target, kinds.ATTACH_TYPES[kind], "links.create_path", self.fd, path, kind)

    def attach_netns(self, netns="") -> Link:
        """A network namespace (sk_lookup, flow_dissector): a host of a `netlab`, or the lab machine's own."""
        path = (netns if isinstance(netns, str) else netns_of(netns, self._lab)) or "/proc/self/ns/net"
        return self._attach(
            f"network namespace {path}", self.type, "links.create_path", self.fd, path, _ATTACH[self.attach_type]
        )

    def attach_lwt(self, dev, destination: str, via: str = "") -> Link:
        """A route (lwt_in, lwt_out, lwt_xmit): packets to `destination` out of an interface pass the program.

        Parameters
        ----------
        dev : Device or str
        destination : str
            An address or prefix: "10.0.1.2", "fd00::/8", "default".
        via : str, optional
            The next hop, where the destination is no neighbour.
        """
        target = f"the route to {destination} on {name_of(dev)}"
        direction = self.type.removeprefix("lwt_")
        return self._attach(
            target,
            self.type,
            "links.route",
            self.fd,
            netns_of(dev, self._lab),
            name_of(dev),
            destination,
            via,
            direction,
        )

    def attach_socket(self, target) -> Link:
        """A socket filter: on a `Socket` of the lab, or on a raw packet socket opened for an interface."""
        if hasattr(target, "recv"):
            return self._attach(f"{target!r}", "socket filter", "links.socket_option", self.fd, target.fd, 50, 27)
        return self._attach(
            f"a packet socket on {name_of(target)}",
            "socket filter",
            "links.packet_socket",
            self.fd,
            netns_of(target, self._lab),
            name_of(target),
        )

    def attach_reuseport(self, sock) -> Link:
        """A group of sockets that share a port (SO_ATTACH_REUSEPORT_EBPF); any of them stands for the group."""
        return self._attach(f"{sock!r}", "sk_reuseport", "links.socket_option", self.fd, sock.fd, 52, 68)

    def attach_sockmap(self, map: Map) -> Link:
        """A sock map or sock hash (sk_skb, sk_msg): every socket that is put into it from now on, until it is taken out."""
        if map.type not in ("sockmap", "sockhash"):
            raise TypeError(f"program '{self.name}' attaches to a sock map or sock hash, not to {map!r}")
        kind = _ATTACH[self.attach_type]
        return self._attach(f"map '{map.name}'", self.attach_type, "links.raw_attach", self.fd, map.fd, kind)
