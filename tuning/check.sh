#!/usr/bin/env bash
# Compares this machine's settings with the guides in this folder. It only reads, and needs no
# root. Exit code: 0 nothing to change, 1 something to change, 2 wrong arguments.
set -euo pipefail

# Tests use their own tree in place of /proc and /sys.
root=${STANDIN_SYSROOT:-}

usage() {
    cat <<'TEXT'
usage: check.sh [--nic NIC] [--cores LIST] [--connections N]

  --nic NIC        the network card that serves clients; default: that of the default route
  --cores LIST     the cores of the shards, as in the `cores` of cluster.toml
  --connections N  `connections` in [limits] of cluster.toml; default 10000
TEXT
}

die() {
    printf 'check.sh: %s\n' "$1" >&2
    exit 2
}

nic='' cores='' connections=10000
while (($#)); do
    case $1 in
        --nic | --cores | --connections)
            (($# > 1)) || die "$1 needs a value"
            case $1 in
                --nic) nic=$2 ;;
                --cores) cores=$2 ;;
                *) connections=$2 ;;
            esac
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die "$1 is not an option; see --help" ;;
    esac
    shift
done
[[ $connections =~ ^[0-9]{1,9}$ ]] || die "--connections takes a number, not '$connections'"
[[ -z $cores || $cores =~ ^[0-9]+([-,][0-9]+)*$ ]] || die "--cores takes a list as in 2-5,8, not '$cores'"
[[ -z $nic || ($nic != */* && -e $root/sys/class/net/$nic) ]] || die "there is no network card '$nic'"

good=0 to_change=0 unknown=0

say() { printf '%-7s %-34s %s\n' "$1" "$2" "$3"; }
ok() {
    good=$((good + 1))
    say ok "$1" "$2"
}
change() { # what, how it is, what to do
    to_change=$((to_change + 1))
    say CHANGE "$1" "$2"
    printf '%-7s %-34s → %s\n' '' '' "$3"
}
skip() {
    unknown=$((unknown + 1))
    say '-' "$1" "$2"
}

# Prints the first line of a file; nothing if it cannot be read.
value() {
    local line=''
    if [[ -r $root$1 ]]; then IFS= read -r line <"$root$1" 2>/dev/null || true; fi
    printf '%s' "$line"
}

at_least() { # what, file, number, guide
    local now
    now=$(value "$2")
    if [[ ! $now =~ ^[0-9]+$ ]]; then
        skip "$1" 'cannot be read here'
    elif ((now >= $3)); then
        ok "$1" "$now"
    else
        change "$1" "$now" "at least $3: $4"
    fi
}

# "2-4,8" to " 2 3 4 8 ".
expand() {
    local part first last list=' '
    for part in ${1//,/ }; do
        first=$((10#${part%%-*}))
        last=$((10#${part##*-}))
        for ((; first <= last; first++)); do list+="$first "; done
    done
    printf '%s' "$list"
}

echo '== kernel (kernel.md)'
release=$(value /proc/sys/kernel/osrelease)
if [[ $release =~ ^([0-9]+)\.([0-9]+) ]]; then
    if ((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2] >= 6001)); then
        ok 'kernel for the io_uring loop' "$release"
    else
        change 'kernel for the io_uring loop' "$release" '6.1 or newer; until then shards run on epoll: kernel.md'
    fi
else
    skip 'kernel for the io_uring loop' 'cannot be read here'
fi
uring=$(value /proc/sys/kernel/io_uring_disabled)
case $uring in
    0) ok kernel.io_uring_disabled 0 ;;
    '') skip kernel.io_uring_disabled 'no such setting: this kernel has no such switch' ;;
    *) change kernel.io_uring_disabled "$uring" '0; otherwise shards run on epoll: kernel.md' ;;
esac
at_least net.core.somaxconn /proc/sys/net/core/somaxconn 4096 kernel.md
at_least net.ipv4.tcp_max_syn_backlog /proc/sys/net/ipv4/tcp_max_syn_backlog 4096 kernel.md
# For clients, peers, the database and files.
descriptors=$((connections + 1000))
limit=$(ulimit -Hn)
if [[ $limit == unlimited ]] || ((limit >= descriptors)); then
    ok 'descriptors, hard limit here' "$limit"
else
    change 'descriptors, hard limit here' "$limit" "at least $descriptors for the service: kernel.md"
fi
clock=$(value /sys/devices/system/clocksource/clocksource0/current_clocksource)
case $clock in
    tsc | arch_sys_counter | kvm-clock | hyperv_clocksource*) ok 'clock source' "$clock" ;;
    '') skip 'clock source' 'cannot be read here' ;;
    *) change 'clock source' "$clock" 'a clock that is read without a system call: kernel.md' ;;
esac

echo '== memory (memory.md)'
pages=$(value /sys/kernel/mm/transparent_hugepage/enabled)
case $pages in
    *'[madvise]'* | *'[always]'*) ok 'transparent huge pages' "$pages" ;;
    '') skip 'transparent huge pages' 'this kernel has none' ;;
    *) change 'transparent huge pages' "$pages" 'madvise: memory.md' ;;
esac
overcommit=$(value /proc/sys/vm/overcommit_memory)
case $overcommit in
    0 | 1) ok vm.overcommit_memory "$overcommit" ;;
    '') skip vm.overcommit_memory 'cannot be read here' ;;
    *) change vm.overcommit_memory "$overcommit" '0, or a limit with room for every cache: memory.md' ;;
esac
swaps=0
if [[ -r $root/proc/swaps ]]; then swaps=$(($(wc -l <"$root/proc/swaps") - 1)); fi
swappiness=$(value /proc/sys/vm/swappiness)
if ((swaps <= 0)); then
    ok swap none
elif [[ $swappiness =~ ^[0-9]+$ ]] && ((swappiness <= 1)); then
    ok swap "$swaps, with vm.swappiness $swappiness"
else
    change swap "$swaps, with vm.swappiness $swappiness" 'none, or none for this service: memory.md'
fi
balancing=$(value /proc/sys/kernel/numa_balancing)
nodes=$(value /sys/devices/system/node/online)
if [[ -z $nodes || $nodes == 0 ]]; then
    ok 'NUMA balancing' 'one node'
elif [[ $balancing == 0 ]]; then
    ok 'NUMA balancing' 'off'
else
    change 'NUMA balancing' "on, over nodes $nodes" 'off where shards are pinned: memory.md'
fi

echo '== cores (cpu-pinning.md)'
governors=$(cat "$root"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null | sort -u | tr '\n' ' ' || true)
case $governors in
    '') skip 'frequency governor' 'the machine, or the hypervisor, decides' ;;
    'performance ') ok 'frequency governor' performance ;;
    *) change 'frequency governor' "$governors" 'performance: cpu-pinning.md' ;;
esac
online=$(expand "$(value /sys/devices/system/cpu/online)")
if [[ -z $cores ]]; then
    skip 'cores of the shards' 'give --cores to check them'
else
    wanted=$(expand "$cores")
    absent='' shared=''
    for core in $wanted; do
        [[ $online == *" $core "* ]] || absent+="$core "
        for sibling in $(expand "$(value "/sys/devices/system/cpu/cpu$core/topology/thread_siblings_list")"); do
            if [[ $sibling != "$core" && $wanted == *" $sibling "* ]]; then shared+="$core+$sibling "; fi
        done
    done
    if [[ -n $absent ]]; then
        change 'cores of the shards' "not online: $absent" 'name existing cores: cpu-pinning.md'
    elif [[ -n $shared ]]; then
        change 'cores of the shards' "two threads of one core: $shared" 'one shard for each physical core: cpu-pinning.md'
    else
        ok 'cores of the shards' "$cores"
    fi
fi

echo '== network card (nic.md, irq.md)'
if [[ -z $nic ]]; then
    nic=$(awk '$2 == "00000000" { print $1; exit }' "$root/proc/net/route" 2>/dev/null || true)
fi
device=$root/sys/class/net/$nic
if [[ -z $nic || ! -e $device ]]; then
    skip 'network card' 'no default route; give --nic'
elif [[ ! -e $device/device ]]; then
    skip 'network card' "$nic is not hardware; give --nic with the card below it"
else
    queues=$(find "$device/queues/" -maxdepth 1 -name 'rx-*' 2>/dev/null | wc -l)
    if [[ -n $cores ]]; then
        count=$(wc -w <<<"$wanted")
        if ((queues >= count)); then
            ok "$nic: receive queues" "$queues for $count shards"
        else
            change "$nic: receive queues" "$queues for $count shards" 'one for each shard, if the card has them: nic.md'
        fi
    else
        skip "$nic: receive queues" "$queues; give --cores to compare them"
    fi
    steered=''
    for mask in "$device"/queues/rx-*/rps_cpus; do
        if [[ -r $mask && $(<"$mask") =~ [1-9a-f] ]]; then steered+="$(basename "$(dirname "$mask")") "; fi
    done
    if [[ -z $steered ]]; then
        ok "$nic: RPS" off
    elif ((queues > 1)); then
        change "$nic: RPS" "on for $steered" 'off, because the card spreads packets itself: nic.md'
    else
        ok "$nic: RPS" 'on, and the card has one queue'
    fi
    node=$(value "/sys/class/net/$nic/device/numa_node")
    if [[ ! $node =~ ^[0-9]+$ ]]; then
        skip "$nic: NUMA node" 'none, or unknown'
    elif [[ -z $cores ]]; then
        skip "$nic: NUMA node" "$node; give --cores to compare them"
    else
        near=$(expand "$(value "/sys/class/net/$nic/device/local_cpulist")") far=''
        for core in $wanted; do
            [[ $near == *" $core "* ]] || far+="$core "
        done
        if [[ -z $far ]]; then
            ok "$nic: NUMA node" "$node, the shards' own"
        else
            change "$nic: NUMA node" "$node; not on it: cores $far" "cores of the card's node: cpu-pinning.md"
        fi
    fi
    balancer=''
    for process in "$root"/proc/[0-9]*/comm; do
        # A process may end during the check.
        if [[ $(cat "$process" 2>/dev/null || true) == irqbalance ]]; then balancer=running; fi
    done
    if [[ -z $balancer ]]; then
        ok irqbalance 'not running'
    else
        change irqbalance running 'stop it, or ban the shards'\'' cores: irq.md'
    fi
fi

echo
echo "$good as in the guides, $to_change to change, $unknown not judged"
((to_change == 0))
