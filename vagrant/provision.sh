#!/bin/sh
# Prepares a Debian machine for labs: packages, headers of the running kernel, the way to its JupyterLab.
#
# Runs as root at the first `vagrant up`, at every `vagrant provision`, and when a box is built (`./lab vagrant box`).
# With nothing to do it takes a second.
#
#   provision.sh                     in the machine, the workbook's folder being there
#   provision.sh --bake PACKAGE...   in a box that is being built: no kernel runs there, packages are given
set -eu

tree=/home/vagrant/bpflab
stamp=/var/lib/bpflab/provisioned

say() { echo "bpflab: $*"; }
stop() { echo "bpflab: $*" >&2; exit 1; }

wanted() { # what ./lab up would install (bpflab/setup_steps.py)
    (cd "$tree" && python3 -B -c 'import sys, types
parent = types.ModuleType("bpflab")
parent.__path__ = ["bpflab"]
sys.modules["bpflab"] = parent
from bpflab import setup_steps
print(*setup_steps.RUN_PACKAGES)')
}

missing() { # those of the packages given that are not installed
    for name in "$@"; do
        dpkg-query --show --showformat '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || echo "$name"
    done
}

install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update || say "the package lists could not all be fetched; going on with those there are"
    apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 install "$@" >/var/log/bpflab-apt.log 2>&1 || {
        tail -5 /var/log/bpflab-apt.log >&2
        return 1
    }
}

jupyter() { # 8800 on every address of the machine leads to 8888 on its 127.0.0.1, where JupyterLab listens
    cat >/etc/systemd/system/bpflab-jupyter.socket <<'UNIT'
[Unit]
Description=The way to bpflab's JupyterLab for the computer outside
[Socket]
ListenStream=8800
[Install]
WantedBy=sockets.target
UNIT
    cat >/etc/systemd/system/bpflab-jupyter.service <<'UNIT'
[Unit]
Description=The way to bpflab's JupyterLab for the computer outside
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd --exit-idle-time=60 127.0.0.1:8888
DynamicUser=yes
PrivateTmp=yes
UNIT
    systemctl --quiet enable bpflab-jupyter.socket
}

lsm() { # programs of type LSM want "bpf" among the kernel's security modules; at the next boot, if it is not there now
    [ -d /etc/default/grub.d ] || return 0
    modules=$(cat /sys/kernel/security/lsm)
    case ",$modules," in *,bpf,*) return 0 ;; esac
    [ -e /etc/default/grub.d/bpflab.cfg ] && return 0
    echo "GRUB_CMDLINE_LINUX=\"\$GRUB_CMDLINE_LINUX lsm=$modules,bpf\"" >/etc/default/grub.d/bpflab.cfg
    update-grub >/dev/null 2>&1
    say "LSM programs work after: vagrant reload"
}

have_headers() { # Debian keeps those of all flavours in a folder of their own, which "source" leads to
    for name in build source; do
        [ ! -e "/lib/modules/$(uname -r)/$name/include/linux/sched.h" ] || return 0
    done
    return 1
}

headers() { # BCC compiles with the kernel's headers; with those of another kernel it answers wrong data without an error
    release=$(uname -r)
    have_headers && return 0
    say "installing the headers of the running kernel, $release"
    install "linux-headers-$release" && return 0
    flavour=${release##*-}
    case $release in *-cloud-*) flavour=cloud-$flavour ;; esac
    say "Debian has no headers for $release any more: installing its newest kernel"
    install "linux-image-$flavour" "linux-headers-$flavour" ||
        stop "neither headers for $release nor a newer kernel can be had; use a newer box: vagrant box update, vagrant destroy, vagrant up"
    say "the machine has a newer kernel now; start it: vagrant reload"
}

if [ "${1:-}" = --bake ]; then
    shift
    left=$(missing "$@")
    [ -z "$left" ] || stop "not installed: $left"
    jupyter
    mkdir -p "${stamp%/*}"
    echo "$*" >"$stamp"
    exit 0
fi

[ -e /etc/debian_version ] || stop "this box is no Debian; set BPFLAB_BOX to one that is"
[ -e /sys/kernel/btf/vmlinux ] || stop "the kernel of this box, $(uname -r), has no BTF; use a newer box: Debian 12's has it"
command -v python3 >/dev/null || install python3
packages=$(wanted)
# a box that was baked for this workbook is believed
if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$packages" ]; then
    left=$(missing $packages rsync)
    if [ -n "$left" ]; then
        say "installing" $left
        install $left || stop "packages could not be installed, see above; is the network there? Then: vagrant provision"
    fi
    jupyter
    systemctl daemon-reload
    mkdir -p "${stamp%/*}"
    echo "$packages" >"$stamp"
fi
headers
lsm
systemctl start bpflab-jupyter.socket
say "ready: Linux $(uname -r), headers $(have_headers && echo "of that kernel" || echo "of another kernel: vagrant reload")"
