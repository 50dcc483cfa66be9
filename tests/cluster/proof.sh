#!/bin/bash
# What the tests of a real cluster do on its nodes. All it finds goes to the console, in lines that begin with "lab: ".
#
#   proof.sh watch SECONDS   every 20 s the memory in use; an error if the node is not up after SECONDS
#   proof.sh cluster NODES   on the control plane: nodes, a pod, its addresses, restarts
#   proof.sh worker          on a worker: the addresses of services
set -euo pipefail

export HOME=/root KUBECONFIG=/etc/kubernetes/admin.conf
[ -e $KUBECONFIG ] || KUBECONFIG=/etc/kubernetes/kubelet.conf
hello=10.96.100.100 # as hello.yaml has it
api=10.96.0.1       # the first address of the service network

say() {
    printf '<4>lab: %.400s\n' "$*" > /dev/kmsg
}

# show NAME LINES COMMAND [ARGUMENT]...: the last lines of what a command prints.
show() {
    local name=$1 lines=$2
    shift 2
    { timeout 30 "$@" 2>&1 || true; } | tail -n "$lines" | while IFS= read -r line; do
        say "$name: $line"
    done
}

# Everything that could say why something does not work.
evidence() {
    local file name
    # Until the API answers it says ten times a second that it does not know its own node.
    show kubelet 30 bash -c "journalctl --quiet --no-pager -o cat -u kubelet -n 1000 | grep -v 'node .* not found'"
    for file in /var/log/pods/*/*/*.log; do
        [ -e "$file" ] || continue
        name=${file#/var/log/pods/*/}
        show "log of ${name%.log}" 6 cat "$file"
    done
    show routes 12 ip route
    show tasks 30 ctr -n k8s.io tasks ls
    show objects 40 kubectl --request-timeout=20s get nodes,pods,services -A -o wide
    show events 30 kubectl --request-timeout=20s get events -A --sort-by=.lastTimestamp
}

fail() {
    trap - ERR
    evidence
    say "failed: $*"
    exit 1
}

# wait_for SECONDS WHAT COMMAND [ARGUMENT]...: ask every 5 s, because each question costs a slow machine some.
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "$what"
        sleep 5
    done
}

get() {
    kubectl --request-timeout=30s get --no-headers "$@" 2> /dev/null
}

fetch() {
    curl --silent --fail --insecure --noproxy '*' --max-time 5 "$@"
}

# answers NAME URL: whether it answers; what it says is shown.
answers() {
    local body
    body=$(fetch "$2") || return 1
    say "$1 $2 answers: $body"
}

# What is shown is the list that was judged: a node may change its state at any time.
ready_nodes() {
    nodes=$(get nodes -o wide) && [ "$(awk '$2 == "Ready"' <<< "$nodes" | wc -l)" = "$1" ]
}

hello_made() {
    kubectl --request-timeout=30s apply -f /opt/lab/hello.yaml > /dev/null
}

prove_cluster() {
    local address nodes line
    wait_for 900 "there are not $1 Ready nodes" ready_nodes "$1"
    while IFS= read -r line; do say "node $line"; done <<< "$nodes"
    local ready late
    ready=$(date --utc +%Y-%m-%dT%H:%M:%SZ)
    wait_for 400 "the pod cannot be made" hello_made
    kubectl wait --for=condition=Ready pod/hello --timeout=300s || fail "the pod does not run"
    address=$(get pod hello -o 'jsonpath={.status.podIP}')
    say "pod runs on $(get pod hello -o 'jsonpath={.spec.nodeName}')"
    wait_for 120 "the pod's address does not answer" answers "pod" "http://$address/"
    wait_for 120 "the service's address does not answer" answers "service" "http://$hello/"
    wait_for 120 "the API's service does not answer" answers "API service" "https://$api/healthz"
    say "log: $(kubectl --request-timeout=30s logs hello | tail -n 1)"
    kubectl wait --for=condition=Ready pod --all -A --timeout=400s || fail "not all pods are Ready"
    say "all pods Ready"
    get pods -A -o wide | while IFS= read -r line; do say "pod of $line"; done
    # Controllers that start before the API is first healthy end themselves and are started again: upstream's own limits,
    # too short for a slow machine. What has run since the node was Ready must not.
    late=$(get pods -A -o 'jsonpath={range .items[*]}{.metadata.name} {range .status.containerStatuses[*]}{.restartCount} {.state.running.startedAt} {end}{"\n"}{end}' |
        awk -v ready="$ready" '{ for (i = 2; i < NF; i += 2) if ($i != 0 && $(i + 1) > ready) print $1 }')
    [ -z "$late" ] || fail "started again after the node was Ready: $late"
    get events -A --field-selector reason=NodeNotReady | while IFS= read -r line; do say "event $line"; done
    wait_for 120 "a node is no longer Ready" ready_nodes "$1"
}

prove_worker() {
    wait_for 900 "the service's address does not answer" answers "service" "http://$hello/"
    wait_for 120 "the API's service does not answer" answers "API service" "https://$api/healthz"
}

watch() {
    local limit=$1 uptime total available state
    say "machine: $(systemd-detect-virt || true), $(nproc) processors"
    while true; do
        total=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
        available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
        state=$(df --output=used -m /run/kiso/rw | tail -n 1)
        say "memory: $((total - available)) of $total MiB in use, state $((state)) MiB"
        IFS=. read -r uptime _ < /proc/uptime
        if [ "$uptime" -ge "$limit" ] && [ ! -e /var/lib/kiso/node-done ]; then
            evidence
            printf '<3>kiso: error: lab: not up after %s s\n' "$limit" > /dev/kmsg
            printf '<3>kiso: hint: the lines above say how far it came\n' > /dev/kmsg
            exit 1
        fi
        sleep 20
    done
}

trap 'fail "line $LINENO of proof.sh"' ERR
case "$1" in
    watch) watch "$2" ;;
    cluster) prove_cluster "$2" ;;
    worker) prove_worker ;;
esac
