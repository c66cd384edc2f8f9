#!/bin/sh
# The director's half of LVS-DR, in the way that many pages show it; written for dirigo's tests.
VIP=192.0.2.100
RIP1="192.0.2.11"
RIP2="192.0.2.12"
PORT=80
IPVSADM=/sbin/ipvsadm
. /etc/rc.d/init.d/functions

case "$1" in
start)
    echo "start LVS of DirectorServer"
    modprobe ip_vs_wrr
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo "1" >/proc/sys/net/ipv4/vs/expire_nodest_conn
    /sbin/ifconfig eth0:0 $VIP broadcast $VIP netmask 255.255.255.255 up
    /sbin/route add -host $VIP dev eth0:0
    $IPVSADM -C
    $IPVSADM -A -t $VIP:$PORT -s wrr -p 60
    for RIP in $RIP1 $RIP2; do
        $IPVSADM -a -t $VIP:$PORT -r $RIP:$PORT -g -w 1
    done
    ipvsadm -A -f 3 -s rr; ipvsadm -a -f 3 -r ${RIP1} -g
    iptables -t mangle -A PREROUTING -d $VIP -p tcp --dport 8000:8099 -j MARK --set-mark 3
    ipvsadm -a -t $VIP:$PORT -r $RIP3:$PORT -g
    /usr/local/bin/something-else
    ;;
stop)
    ipvsadm -C
    ifconfig eth0:0 down
    ;;
*)
    echo "Usage: $0 {start|stop}"
    exit 1
esac
