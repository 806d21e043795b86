#!/bin/sh
# A real Slurm of two nodes on this machine: munged, slurmctld and two slurmd in a folder of their own.
#
# usage: tests/slurm/slurm_sandbox.sh start DIR | stop DIR      (DIR short: socket paths; needs root)
# After start: export SLURM_CONF=DIR/slurm.conf
set -eu
[ $# = 2 ] || { echo "usage: $0 start|stop DIR" >&2; exit 2; }
action=$1 DIR=$2

configuration()
{
    cat <<EOF
ClusterName=sandbox
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=${ALD_SLURM_PORT:-21800}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$DIR/run/munge.socket,cred_expire=5
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
TmpFS=$DIR/tmp/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd-%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
ReturnToService=1
KillWait=2
NodeName=node[1-2] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((${ALD_SLURM_PORT:-21800} + 1))-$((${ALD_SLURM_PORT:-21800} + 2))] CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
EOF
}

start()
{
    mkdir -p "$DIR/run" "$DIR/log" "$DIR/state" "$DIR/spool/node1" "$DIR/spool/node2" \
        "$DIR/tmp/node1" "$DIR/tmp/node2"
    configuration >"$DIR/slurm.conf"
    head -c 1024 /dev/urandom >"$DIR/munge.key"
    chmod 600 "$DIR/munge.key"
    # slurmctld wants an address beside loopback's; a container without network has none.
    ip -4 -o addr show scope global | grep -q . || ip addr add 10.255.255.1/32 dev lo || true
    munged --force --key-file="$DIR/munge.key" --socket="$DIR/run/munge.socket" \
        --pid-file="$DIR/run/munged.pid" --seed-file="$DIR/run/munged.seed" \
        --log-file="$DIR/log/munged.log"
    export SLURM_CONF="$DIR/slurm.conf"
    slurmctld -f "$DIR/slurm.conf"
    for node in node1 node2; do # names of their own, or Open MPI's shared memory files collide
        unshare -u sh -c "hostname $node; exec slurmd -f '$DIR/slurm.conf' -N $node"
    done
    for _ in $(seq 100); do
        [ "$(sinfo -h -o '%T' 2>/dev/null)" = idle ] && return
        sleep 0.1
    done
    echo "slurm_sandbox: the nodes are not idle after 10 s; see $DIR/log" >&2
    exit 1
}

stop()
{
    for file in "$DIR"/run/slurmd-*.pid "$DIR/run/slurmctld.pid" "$DIR/run/munged.pid"; do
        [ -f "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
    done
}

case $action in
start) start ;;
stop) stop ;;
*) echo "usage: $0 start|stop DIR" >&2; exit 2 ;;
esac
