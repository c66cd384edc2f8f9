#!/bin/sh
# Puts dirigo on $DEV, in front of one service, and takes it off again: a hook of ipvs-vm's bench.py, called in the
# guest, in the director's namespace, as `dirigo.sh start udp|tcp` and `dirigo.sh stop udp|tcp`.
set -e
dirigo=/in/dirigo
config=/run/dirigo-bench.toml
case $1 in
start)
    cat >"$config" <<TOML
[director]
interface = "$DEV"
require_native = true

[vips]
manage = false

[[service]]
address = "$VIP:$PORT"
protocol = "$2"
scheduler = "wrr"

  [[service.destination]]
  address = "$RS1"
  weight = 1

  [[service.destination]]
  address = "$RS2"
  weight = 1
TOML
    grep -q " /sys/fs/bpf bpf" /proc/mounts || mount -t bpf bpf /sys/fs/bpf
    "$dirigo" run -c "$config" >/run/dirigo-bench.log 2>&1 </dev/null &
    # Ready when both real servers can be reached.
    for _ in $(seq 100); do
        case $("$dirigo" services --json 2>/dev/null | tr -d ' \n') in
        *unresolved* | "") ;;
        *"$RS1"*"$RS2"* | *"$RS2"*"$RS1"*) exit 0 ;;
        esac
        sleep 0.1
    done
    "$dirigo" services --json || true
    cat /run/dirigo-bench.log >&2
    exit 1
    ;;
stop)
    "$dirigo" down --release
    ;;
esac
