#!/bin/sh
# A real Slurm on this machine: munged, slurmctld and a slurmd for each node, in a folder of their own.
#
# usage: tests/slurm/slurm_sandbox.sh start DIR [NODES] | node DIR N | stop DIR
#   DIR       short: socket paths; needs root
#   NODES     2 without it; the partition "urgent" has them too, and preempts jobs of "main"
#   node      starts the daemon of node N anew
# The daemons go before all else that runs, jobs don't: beside other tests a controller would miss calls.
# After start: export SLURM_CONF=DIR/slurm.conf
set -eu
usage()
{
    echo "usage: $0 start DIR [NODES] | node DIR N | stop DIR" >&2
    exit 2
}
case $# in 2 | 3) ;; *) usage ;; esac
action=$1 DIR=$2 number=${3:-2} port=${ALD_SLURM_PORT:-21800}

configuration()
{
    cat <<EOF
ClusterName=sandbox
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
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
PropagatePrioProcess=1
ReturnToService=1
KillWait=1
SlurmdTimeout=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=node[1-$number] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + number))] CPUs=8 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=10
EOF
}

# Nodes have names of their own, or Open MPI's shared memory files collide. One that starts anew has an empty
# disk: what PMIx left of a killed step stops the same step of a requeued job.
node()
{
    rm -rf "$DIR/tmp/node$1" "$DIR/spool/node$1"/*pmix*
    mkdir "$DIR/tmp/node$1"
    unshare -u sh -c "hostname node$1; exec slurmd -n -15 -f '$DIR/slurm.conf' -N node$1"
}

start()
{
    mkdir -p "$DIR/run" "$DIR/log" "$DIR/state"
    for i in $(seq "$number"); do
        mkdir -p "$DIR/spool/node$i" "$DIR/tmp/node$i"
    done
    configuration >"$DIR/slurm.conf"
    head -c 1024 /dev/urandom >"$DIR/munge.key"
    chmod 600 "$DIR/munge.key"
    # slurmctld wants an address beside loopback's; a container without network has none.
    ip -4 -o addr show scope global | grep -q . || ip addr add 10.255.255.1/32 dev lo || true
    nice -n -15 munged --force --key-file="$DIR/munge.key" --socket="$DIR/run/munge.socket" \
        --pid-file="$DIR/run/munged.pid" --seed-file="$DIR/run/munged.seed" \
        --log-file="$DIR/log/munged.log"
    export SLURM_CONF="$DIR/slurm.conf"
    slurmctld -n -15 -f "$DIR/slurm.conf"
    for i in $(seq "$number"); do
        node "$i"
    done
    for _ in $(seq 100); do
        [ "$(sinfo -h -p main -o '%T' 2>/dev/null)" = idle ] && return
        sleep 0.1
    done
    echo "slurm_sandbox: the nodes are not idle after 10 s; see $DIR/log" >&2
    exit 1
}

stop()
{
    for file in "$DIR"/run/slurmd-*.pid "$DIR/run/slurmctld.pid" "$DIR/run/munged.pid"; do
        [ ! -f "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
    done
}

case $action in
start) start ;;
node) node "$number" ;;
stop) stop ;;
*) usage ;;
esac
