"""Make docs/explorer.png and docs/explorer-dark.png, the README's picture: run it as root with the workbook's Python.

PYTHONPATH=. .venv/bin/python tests/browser/picture.py
"""

import tempfile
from pathlib import Path

from conftest import ARGUMENTS, chromium_path
from lab_page import DARK, LIGHT, ROOT, Jupyter, Notebook
from playwright.sync_api import sync_playwright

SETUP = """import bpflab as bl
lab = bl.Lab(quiet=True)
net = lab.netlab("client", "server")"""

PROGRAM = r"""%%bpf traffic
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct conn { __be32 saddr, daddr; __be16 sport, dport; __u8 proto; };
struct usage { __u64 packets, bytes; };
struct prefix { __u32 prefixlen; __be32 addr; };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, struct conn);
    __type(value, struct usage);
} flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} totals SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, 64);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct prefix);
    __type(value, __u64);
} blocked SEC(".maps");

static void count(__u32 which)
{
    __u64 *times = bpf_map_lookup_elem(&totals, &which);

    if (times)
        (*times)++;
}

SEC("tc")
int count_flow(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct iphdr *ip = data + sizeof(struct ethhdr);
    struct udphdr *udp = (void *)(ip + 1);
    struct usage none = {}, *usage;
    struct conn key = {};

    if ((void *)(udp + 1) > end || skb->protocol != bpf_htons(0x0800))
        return -1;
    key = (struct conn){ ip->saddr, ip->daddr, udp->source, udp->dest, ip->protocol };
    bpf_map_update_elem(&flows, &key, &none, BPF_NOEXIST);
    usage = bpf_map_lookup_elem(&flows, &key);
    if (usage) {
        __sync_fetch_and_add(&usage->packets, 1);
        __sync_fetch_and_add(&usage->bytes, skb->len);
    }
    count(0);
    return -1;
}

SEC("xdp")
int drop_blocked(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct iphdr *ip = data + sizeof(struct ethhdr);
    struct prefix key = { .prefixlen = 32 };

    if ((void *)(ip + 1) > end)
        return XDP_PASS;
    key.addr = ip->saddr;
    if (!bpf_map_lookup_elem(&blocked, &key))
        return XDP_PASS;
    count(1);
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";"""

SHOWN = """traffic.programs["count_flow"].attach(net["server"].dev)
traffic.programs["drop_blocked"].attach(net["server"].dev)

bl.explore(traffic)"""

# UDP to some well-known ports: port, packets per twentieth of a second, bytes
SENDER = """
import random, socket, time
draw = random.Random(4)
flows = [(53, 2, 60), (443, 45, 1200), (443, 11, 1200), (443, 4, 900), (1194, 15, 1300), (3478, 1, 120), (51820, 25, 1400)]
flows = [(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), *flow) for flow in flows]
for sender, *_ in flows:
    sender.bind(("", draw.randrange(32768, 61000)))
while True:
    for sender, port, packets, size in flows:
        for _ in range(draw.randrange(packets + 1)):
            try:
                sender.sendto(bytes(size), ("{ip}", port))
            except OSError:
                pass  # the server's answer that nobody listens
    time.sleep(0.05)
"""
START = f"""import textwrap
sender = net["client"].spawn(["python3", "-c", textwrap.dedent({SENDER!r}).replace("{{ip}}", str(net["server"].ip))])"""

TO_THE_TOP = """cell => { const panel = cell.closest('.jp-WindowedPanel-outer');
  panel.scrollTop += cell.getBoundingClientRect().top - panel.getBoundingClientRect().top - 8 }"""


def main():
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        jupyter = Jupyter(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=[*ARGUMENTS, "--no-sandbox"])
        try:
            context = browser.new_context(viewport={"width": 1120, "height": 780}, reduced_motion="reduce")
            notebook = Notebook(jupyter, context, "flows.ipynb", [SETUP, PROGRAM])
            notebook.command("application:toggle-left-area")
            explorer = notebook.run(SHOWN).locator(".bpflab-explorer")
            explorer.get_by_role("tab", name="flows, hash").click()
            notebook.execute(START)
            explorer.locator("tbody tr").nth(6).wait_for()
            explorer.locator(".bx-sort", has_text="packets/s").click()
            for theme, name in ((LIGHT, "explorer.png"), (DARK, "explorer-dark.png")):
                notebook.theme(theme)
                notebook.page.locator(".jp-Notebook .jp-Cell").last.evaluate(TO_THE_TOP)
                notebook.page.mouse.move(900, 30)
                notebook.page.wait_for_timeout(5000)  # for traffic to look at
                notebook.page.screenshot(path=ROOT / "docs" / name)
            notebook.execute("lab.close()")
            notebook.close()
        finally:
            browser.close()
            jupyter.close()


if __name__ == "__main__":
    main()
