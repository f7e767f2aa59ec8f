#!/usr/bin/env bash
# Binds the interrupts of a network card's queues to cores, one queue after another.
# Shows what it would change, and changes it only with --apply. See irq.md.
set -euo pipefail

# Tests use their own tree in place of /proc, /sys and /run.
root=${STANDIN_SYSROOT:-}

usage() {
    cat <<'TEXT'
usage: irq-affinity.sh [--cores LIST] [--apply] NIC
       irq-affinity.sh --restore NIC

  --cores LIST  cores to use, as in 2-5,8; default: the cores of the card's NUMA node
  --apply       make the changes (as root); without it they are only shown
  --restore     restore the state before the first --apply since the machine started

exit code: 0 done, or shown; 1 a change was refused; 2 nothing was tried
TEXT
}

die() {
    printf 'irq-affinity.sh: %s\n' "$1" >&2
    exit 2
}

# "2-4,8" to "2 3 4 8".
expand() {
    local part first last
    local cores=()
    [[ $1 =~ ^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$ ]] || die "'$1' is not a list of cores, as in 2-5,8"
    for part in ${1//,/ }; do
        first=${part%-*}
        last=${part#*-}
        # Decimal, although a number begins with 0.
        first=$((10#$first)) last=$((10#$last))
        ((first <= last && last < 65536)) || die "'$part' is not a range of cores"
        for ((; first <= last; first++)); do cores+=("$first"); done
    done
    printf '%s ' "${cores[@]}"
}

nic='' list='' apply=no restore=no
while (($#)); do
    case $1 in
        --cores)
            (($# > 1)) || die '--cores needs a list, as in 2-5,8'
            list=$2
            shift
            ;;
        --cores=*) list=${1#*=} ;;
        --apply) apply=yes ;;
        --restore) restore=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*) die "$1 is not an option; see --help" ;;
        *)
            [[ -z $nic ]] || die "one card at a time: '$nic' or '$1'?"
            nic=$1
            ;;
    esac
    shift
done
if [[ -z $nic ]]; then
    usage >&2
    exit 2
fi

net=$root/sys/class/net
# A name with a slash would point outside the folder.
if [[ $nic == */* || ! -e $net/$nic ]]; then
    names=$(cd "$net" 2>/dev/null && printf '%s ' *) || names=none
    die "there is no network card '$nic'; the cards are: ${names% }"
fi
saved=$root/run/standin-irq-$nic.before

may_write() {
    [[ -n $root || $(id -u) == 0 ]] || die "$1 needs root"
}

if [[ $restore == yes ]]; then
    [[ -f $saved ]] || die "nothing to restore: no $saved"
    may_write --restore
    failed=0
    while read -r irq before; do
        if printf '%s\n' "$before" 2>/dev/null >"$root/proc/irq/$irq/smp_affinity_list"; then
            echo "irq $irq: back to cores $before"
        else
            echo "irq $irq: refused" >&2
            failed=1
        fi
    done <"$saved"
    if ((failed == 0)); then rm -f "$saved"; fi
    exit "$failed"
fi

[[ -e $net/$nic/device ]] || die "'$nic' is not hardware, so it has no interrupts; for a bond, bridge or VLAN, name the cards below it"

# A virtio device is a child of the PCI device that has the interrupts.
irq_folder=''
for folder in "$net/$nic/device/msi_irqs" "$net/$nic/device/../msi_irqs"; do
    if [[ -d $folder ]]; then
        irq_folder=$folder
        break
    fi
done
[[ -n $irq_folder ]] || die "'$nic' has no MSI interrupts that could be spread over cores"

if [[ -z $list ]]; then
    for file in "$net/$nic/device/local_cpulist" "$net/$nic/device/../local_cpulist" \
        "$root/sys/devices/system/cpu/online"; do
        if [[ -r $file ]]; then list=$(<"$file"); fi
        [[ -z $list ]] || break
    done
    [[ -n $list ]] || die 'the cores of this card are unknown; give --cores'
fi
read -r -a cores <<<"$(expand "$list")"
((${#cores[@]})) || exit 2
read -r -a online <<<"$(expand "$(cat "$root/sys/devices/system/cpu/online")")"
for core in "${cores[@]}"; do
    [[ " ${online[*]} " == *" $core "* ]] || die "core $core is not online (online: ${online[*]})"
done

# A driver's name for the interrupt of a queue: eth0-TxRx-3, mlx5_comp3@…, virtio0-input.3.
queue_name='(tx-?rx|rx|tx|comp|input|output|fp)[-._]?([0-9]+)(@.*)?$'
shopt -s nocasematch

rows=() # "queue irq name"
for path in "$irq_folder"/*; do
    irq=${path##*/}
    line=$(grep -E "^ *$irq:" "$root/proc/interrupts" || true)
    name=${line##* }
    if [[ -n $line && $name =~ $queue_name ]]; then
        rows+=("${BASH_REMATCH[2]} $irq $name")
    fi
done
((${#rows[@]})) || die "no interrupt of '$nic' has the name of a queue; see /proc/interrupts"
mapfile -t rows < <(printf '%s\n' "${rows[@]}" | sort -n -k1,1 -k2,2)

queues=$(printf '%s\n' "${rows[@]}" | cut -d ' ' -f 1 | uniq | wc -l)
echo "$nic: $queues queues, ${#rows[@]} interrupts, over cores ${cores[*]}"
if ((queues > ${#cores[@]})); then
    echo "note: more queues than cores; fewer queues would be enough: see nic.md"
fi
for process in "$root"/proc/[0-9]*/comm; do
    if [[ -r $process && $(<"$process") == irqbalance ]]; then
        echo 'note: irqbalance is running and will move them again; stop it, or exclude these cores: see irq.md'
        break
    fi
done

if [[ $apply == yes ]]; then
    may_write --apply
    # Only the state before the first change is saved.
    if [[ ! -e $saved ]]; then
        for row in "${rows[@]}"; do
            read -r _ irq _ <<<"$row"
            echo "$irq $(<"$root/proc/irq/$irq/smp_affinity_list")"
        done >"$saved"
    fi
fi

failed=0 changes=0
printf '%6s %-28s %-16s %s\n' irq name 'cores now' 'core wanted'
for row in "${rows[@]}"; do
    read -r queue irq name <<<"$row"
    file=$root/proc/irq/$irq/smp_affinity_list
    now=$(<"$file")
    wanted=${cores[10#$queue % ${#cores[@]}]}
    outcome=''
    if [[ $now != "$wanted" ]]; then
        changes=$((changes + 1))
        if [[ $apply == yes ]]; then
            # The kernel refuses changes to interrupts that it manages itself.
            if printf '%s\n' "$wanted" 2>/dev/null >"$file" && [[ $(<"$file") == "$wanted" ]]; then
                outcome=' changed'
            else
                outcome=' REFUSED by the kernel'
                failed=1
            fi
        fi
    fi
    printf '%6s %-28s %-16s %s%s\n' "$irq" "$name" "$now" "$wanted" "$outcome"
done

if ((changes == 0)); then
    echo 'all are where they should be'
elif [[ $apply == yes ]]; then
    echo "to undo: irq-affinity.sh --restore $nic"
else
    echo "nothing was changed; with --apply $changes of them would be"
fi
exit "$failed"
