#!/bin/sh
# Gives the machine a .venv and a .cache of its own in the workbook's folder, which it shares with another computer.
set -eu

tree=/home/vagrant/bpflab
for name in .venv .cache; do
    own=/home/vagrant/.local/share/bpflab/$name
    mountpoint -q "$tree/$name" && continue
    sudo -u vagrant mkdir -p "$own" "$tree/$name"
    mount --bind "$own" "$tree/$name"
done
