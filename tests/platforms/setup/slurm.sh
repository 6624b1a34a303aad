#!/usr/bin/env bash
# Slurm and munge; slurm.sh start FOLDER brings a cluster of this one machine up, slurm.sh stop FOLDER takes it down.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

debian_packages slurm-wlm munge

slurm_conf() {
  local folder=$1 host memory
  host=$(hostname -s)
  memory=$(($(slurmd -C | sed -n 's/.*RealMemory=\([0-9]*\).*/\1/p') - 512))
  cat <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$folder/run/munge.sock
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
PlugStackConfig=$folder/plugstack.conf
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1
KillWait=2
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE DefMemPerCPU=512 State=UP
CONF
}

start() {
  local folder=$1 waited
  mkdir -p "$folder"/{spool,state,run,log,munge}
  chmod 755 "$folder" "$folder/run"
  chmod 700 "$folder/munge"
  : >"$folder/plugstack.conf"
  slurm_conf "$folder" >"$folder/slurm.conf"
  dd if=/dev/urandom of="$folder/munge/munge.key" bs=1 count=1024 status=none
  chmod 400 "$folder/munge/munge.key"
  export SLURM_CONF=$folder/slurm.conf
  munged --foreground --key-file="$folder/munge/munge.key" --socket="$folder/run/munge.sock" \
    --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed" \
    >"$folder/log/munged.out" 2>&1 &
  echo $! >"$folder/pids"
  for waited in $(seq 100); do [ -S "$folder/run/munge.sock" ] && break; sleep 0.1; done
  [ -S "$folder/run/munge.sock" ] || { cat "$folder/log/munged.out" >&2; return 1; }
  slurmctld -D >"$folder/log/slurmctld.out" 2>&1 &
  echo $! >>"$folder/pids"
  slurmd -D >"$folder/log/slurmd.out" 2>&1 &
  echo $! >>"$folder/pids"
  for waited in $(seq 120); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then
      echo "SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.5
  done
  for waited in "$folder"/log/*; do tail -n 5 "$waited" >&2; done
  return 1
}

stop() {
  local pid
  # The last one started goes first; only processes that start() wrote down.
  for pid in $(tac "$1/pids"); do
    kill -TERM "$pid" 2>/dev/null || continue
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  done
}

case ${1:-} in
  start) start "$2" ;;
  stop) stop "$2" ;;
esac
