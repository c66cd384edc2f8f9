#!/usr/bin/python3
"""Plays a script of steps against one director and writes who got each frame.

    runner.py ipvs|DIRIGO SCRIPT ANSWERS

Runs as root in a network namespace of its own, which is the client; the director is another, at the other end of a
veth pair. The real servers are permanent neighbours of the director: a frame that comes back to the client with the
MAC of real server N was given to N. Lines of the script: `round N`, `do IPVSADM-LINE`, `pause` and
`send PROTOCOL FLAGS CLIENT CLIENT_PORT VIP PORT`; one answer (`1`, `2`, … or `-`) for each `send`.
"""
import ctypes
import os
import socket
import struct
import subprocess
import sys
import time

WHICH, SCRIPT, ANSWERS = sys.argv[1:4]
SERVERS = 8
VIPS = ("192.0.2.100", "2001:db8::100")
CLIENT_MAC, DIRECTOR_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
SERVER_MACS = bytes.fromhex("0200000001")
CONFIG, LOG = "/run/against.toml", "/run/against.log"
# The service of the frame that ends a group: whatever was sent before it has been answered by then.
END_PORT, WAIT_S = 999, 10
# Several jiffies, of a guest that is emulated.
PAUSE_S = 0.04


def sh(line, **kw):
    got = subprocess.run(line, shell=True, capture_output=True, text=True, **kw)
    if got.returncode or got.stderr.strip():
        sys.exit(f"{line}: {got.returncode}\n{kw.get('input', '')}\n{got.stdout}{got.stderr}")
    return got.stdout


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(number, protocol, flags, client, client_port, vip, port):
    """An Ethernet frame that carries its own number: in TCP's sequence number, in UDP's payload."""
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    source, target = (socket.inet_pton(family, one) for one in (client, vip))
    if protocol == "tcp":
        kind, at = 6, 16
        body = struct.pack("!HHIIBBHHH", client_port, port, number, 1, 0x50, int(flags), 8192, 0, 0)
    else:
        kind, at = 17, 6
        body = struct.pack("!HHHHI", client_port, port, 12, 0, number)
    sum_of = checksum(source + target + struct.pack("!II", len(body), kind) + body) or 0xFFFF
    body = body[:at] + struct.pack("!H", sum_of) + body[at + 2:]
    if family == socket.AF_INET6:
        head = struct.pack("!IHBB", 0x60000000, len(body), kind, 64) + source + target
        return DIRECTOR_MAC + CLIENT_MAC + b"\x86\xdd" + head + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number & 0xFFFF, 0x4000, 64, kind, 0) + source + target
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return DIRECTOR_MAC + CLIENT_MAC + b"\x08\x00" + head + body


def number_of(got):
    """The number in a frame that came back, or None."""
    is_v6 = got[12:14] == b"\x86\xdd"
    kind, at = (got[20], 54) if is_v6 else (got[23], 34)
    if kind not in (6, 17):
        return None
    at += 4 if kind == 6 else 8
    return struct.unpack("!I", got[at:at + 4])[0]


def bpf(command, attributes):
    """The system call `bpf` (x86_64): a descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.syscall(321, command, ctypes.create_string_buffer(attributes), len(attributes))
    if got < 0:
        sys.exit(f"bpf command {command}: {os.strerror(ctypes.get_errno())}")
    return got


def attach_pass(index):
    """An XDP program that passes everything: veth delivers what XDP sends back only to a peer that has one."""
    pass_all = ctypes.create_string_buffer(struct.pack("<QQ", 2 << 32 | 0xB7, 0x95))
    license_name = ctypes.create_string_buffer(b"GPL")
    # BPF_PROG_LOAD of type XDP, then BPF_LINK_CREATE at BPF_XDP.
    program = bpf(5, struct.pack("<IIQQ", 6, 2, ctypes.addressof(pass_all), ctypes.addressof(license_name)).ljust(48, b"\0"))
    return bpf(28, struct.pack("<IIII", program, index, 37, 0))


def make_network():
    sh("ip link set lo up; ip netns add dir; ip link add against0 type veth peer name eth0 netns dir")
    sh("ip link set against0 address 02:00:00:00:00:01 up")
    link = attach_pass(socket.if_nametoindex("against0"))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind(("against0", 0))
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    # The clients' namespace has no addresses; from here on this process is in the director's.
    with open("/run/netns/dir") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0x40000000):
            sys.exit("setns failed")
    lines = ["link set lo up", "link set eth0 address 02:00:00:00:00:02 up",
             "addr add 192.0.2.2/24 dev eth0", "addr add 2001:db8::2/64 dev eth0 nodad",
             "addr add 192.0.2.100/32 dev eth0", "addr add 2001:db8::100/128 dev eth0 nodad",
             "route add 10.0.0.0/8 via 192.0.2.1", "-6 route add 2001:db8:5::/64 via 2001:db8::1"]
    for address in ("192.0.2.1", "2001:db8::1"):
        lines.append(f"neigh replace {address} dev eth0 lladdr 02:00:00:00:00:01 nud permanent")
    for n in range(1, SERVERS + 1):
        for address in (f"192.0.2.{10 + n}", f"2001:db8::1{n}"):
            lines.append(f"neigh replace {address} dev eth0 lladdr 02:00:00:00:01:{n:02x} nud permanent")
    sh("set -e\n" + "\n".join("ip " + line for line in lines))
    sh("echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter")
    return wire, link


def start_director():
    """The command that takes ipvsadm's lines, and what to stop at the end."""
    if WHICH == "ipvs":
        for name in "rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh".split():
            sh(f"modprobe ip_vs_{name}")
        return ["ipvsadm", "-R"], None
    with open(CONFIG, "w") as config:
        config.write('[director]\ninterface = "eth0"\nrequire_native = true\n\n[vips]\nmanage = false\n')
    with open(LOG, "w") as log:
        daemon = subprocess.Popen([WHICH, "run", "-c", CONFIG], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    for _ in range(300):
        if not subprocess.run([WHICH, "ipvsadm", "-Ln"], capture_output=True).returncode:
            return [WHICH, "ipvsadm", "-R"], daemon
        time.sleep(0.1)
    sys.exit("dirigo does not answer: " + open(LOG).read())


class Player:
    def __init__(self, wire, restore):
        self.wire, self.restore = wire, restore
        self.sent = 0

    def do(self, lines):
        got = subprocess.run(self.restore, input="".join(line + "\n" for line in lines), capture_output=True, text=True)
        if got.returncode or got.stderr:
            sys.exit(f"{lines}: {got.returncode} {got.stdout}{got.stderr}")

    def send(self, frames, wait_s=WAIT_S):
        """Who got each of them; None when even the frame that ends the group was not answered."""
        answers, first = ["-"] * len(frames), self.sent
        end = ("udp", "0", "10.9.9.9", 9, VIPS[0], END_PORT)
        for n, parts in enumerate(frames + [end]):
            self.wire.send(frame(first + n, *parts))
        self.sent += len(frames) + 1
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            self.wire.settimeout(left)
            try:
                got, whence = self.wire.recvfrom(2048)
            except TimeoutError:
                return None
            if whence[2] == socket.PACKET_OUTGOING or got[:5] != SERVER_MACS:
                continue
            number = number_of(got)
            if number == first + len(frames):
                return answers
            if number is not None and first <= number < first + len(frames):
                answers[number - first] = str(got[5])
        return None

    def make_ready(self):
        """A service of all real servers, of both families: a director that looks for its neighbours has them then."""
        lines = []
        for vip, server in ((VIPS[0], "192.0.2.1{}"), (f"[{VIPS[1]}]", "[2001:db8::1{}]")):
            lines.append(f"-A -u {vip}:{END_PORT} -s rr -o")
            lines += [f"-a -u {vip}:{END_PORT} -r {server.format(n)}:{END_PORT} -g" for n in range(1, SERVERS + 1)]
        self.do(lines)
        probes = [("udp", "0", client, 1000 + n, vip, END_PORT)
                  for client, vip in (("10.9.9.8", VIPS[0]), ("2001:db8:5::9", VIPS[1])) for n in range(SERVERS)]
        for _ in range(20):
            got = self.send(probes, 1)
            if got and len(set(got[:SERVERS])) == len(set(got[SERVERS:])) == SERVERS and "-" not in got:
                return
            time.sleep(0.1)
        sys.exit(f"not every real server is reached: {got}")


def play(player, script, answers):
    group, kind = [], None

    def finish():
        if kind == "do":
            player.do(group)
        elif kind == "send":
            got = player.send(group)
            if got is None:
                sys.exit(f"no answer to the frame that ends a group: {group}")
            answers.write("\n".join(got) + "\n")
        group.clear()

    for line in script:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word != kind:
            finish()
            kind = word
        if word == "do":
            group.append(rest)
        elif word == "pause":
            time.sleep(PAUSE_S)
        elif word == "send":
            protocol, flags, client, client_port, vip, port = rest.split()
            group.append((protocol, flags, client, int(client_port), vip, int(port)))
    finish()


def main():
    # On one CPU frames stay in order.
    os.sched_setaffinity(0, {0})
    # The link of the pass program lives as long as its descriptor.
    wire, _link = make_network()
    restore, daemon = start_director()
    try:
        player = Player(wire, restore)
        player.make_ready()
        with open(SCRIPT) as script, open(ANSWERS, "w") as answers:
            play(player, script, answers)
    finally:
        if daemon:
            subprocess.run([WHICH, "down", "--release"], capture_output=True)
            daemon.terminate()
            daemon.wait()


main()
