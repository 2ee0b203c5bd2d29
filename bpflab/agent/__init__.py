"""The part of bpflab that runs as root on the lab machine.

Only these modules touch a kernel. They use the standard library and the
system's libbpf, import nothing of the rest of bpflab, and are sent over by
`bpflab.machines.gateway`, which installs them there as the package
`bpflab_agent`. Whatever is loaded or attached belongs to this process by file
descriptor: when it ends, however it ends, the kernel takes everything away.
"""
