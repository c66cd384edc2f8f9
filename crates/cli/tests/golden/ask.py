#!/usr/bin/python3
"""Ask the real ipvsadm every line of answers.json again (runs in the guest of ipvs-vm):

    ipvs-vm run -c answers.json -o DIR ask.py      # about two minutes; then compare DIR/answers.json

To ask something new, add an object with "words" and "input" first.
"""
import ctypes, json, os, subprocess, sys
sys.path.insert(0, "/in")
from topo import lan, sh

HOSTS = """127.0.0.1 localhost
192.0.2.1 client.example.test
192.0.2.100 www.example.test
192.0.2.11 rs1.example.test
192.0.2.12 rs2.example.test
2001:db8::100 www6.example.test
2001:db8::11 rs1v6.example.test
"""
TABLE = b"-C\n-A -t 192.0.2.100:80 -s wrr\n-a -t 192.0.2.100:80 -r 192.0.2.11:80 -g -w 3\n"

def ipvsadm(words, text=b""):
    return subprocess.run(["ipvsadm"] + words, input=text, capture_output=True, env=dict(os.environ, LC_ALL="C"))

open("/etc/hosts", "w").write(HOSTS)
open("/etc/nsswitch.conf", "w").write("hosts: files\nservices: files\nprotocols: files\n")
lan(2)
for scheduler in "rr wrr lc wlc fo ovf lblc lblcr dh sh mh sed nq twos".split():
    sh(f"modprobe ip_vs_{scheduler}")
sh("modprobe ip_vs_pe_sip; modprobe sctp", check=False)
# Everything else happens in the director's namespace.
folder = next(path for path in ("/run/netns", "/var/run/netns") if os.path.exists(path))
assert ctypes.CDLL(None).setns(os.open(f"{folder}/dir", os.O_RDONLY), 0x40000000) == 0

answers = []
for asked in json.load(open("/in/answers.json")):
    assert ipvsadm(["-R"], TABLE).returncode == 0
    answer = ipvsadm(asked["words"], asked["input"].encode())
    for role in ("master", "backup"):
        ipvsadm(["--stop-daemon", role])
    answers.append(json.dumps(dict(
        words=asked["words"], input=asked["input"], code=answer.returncode, out=answer.stdout.decode(),
        err=answer.stderr.decode(), after=ipvsadm(["-Sn"]).stdout.decode()), ensure_ascii=False))
open("/out/answers.json", "w").write("[\n" + ",\n".join(answers) + "\n]\n")
