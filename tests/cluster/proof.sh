#!/bin/bash
# What the tests of a real cluster do on its nodes. All it finds goes to the console, in lines that begin with "lab: ".
#
#   proof.sh watch SECONDS     what runs here, and every 20 s the memory in use; an error if the node is not up in time
#   proof.sh cluster NODE...   on the control plane: nodes, a pod and a service on each, names, restarts
#   proof.sh worker NODE...    on a worker: the services of all nodes
#
# The file "patience" beside it multiplies all times that it waits: 1 on a machine with little else to do.
set -euo pipefail

export HOME=/root KUBECONFIG=/etc/kubernetes/admin.conf
[ -e $KUBECONFIG ] || KUBECONFIG=/etc/kubernetes/kubelet.conf
here=$(dirname "$0")
patience=$(cat "$here/patience")
api=10.96.0.1  # the first address of the service network
dns=10.96.0.10 # CoreDNS, as kubeadm and kubelets have it

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
    local end=$((SECONDS + $1 * patience)) what=$2
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

# The service of the nth node: hello_of N.
hello_of() {
    echo "10.96.100.$1"
}

# resolves NAME ADDRESS [COMMAND]...: whether CoreDNS says so to a question that COMMAND... asks from where it runs.
resolves() {
    local name=$1 address=$2
    shift 2
    "$@" python3 - "$dns" "$name" "$address" << 'EOF' 2> /dev/null
import socket, sys
server, name, address = sys.argv[1:]
labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
    link.settimeout(5)
    link.sendto(b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1", (server, 53))
    answer = link.recv(512)
sys.exit(answer[3] & 15 != 0 or not answer.endswith(socket.inet_aton(address)))
EOF
}

# What is shown is the list that was judged: a node may change its state at any time.
ready_nodes() {
    nodes=$(get nodes -o wide) && [ "$(awk '$2 == "Ready"' <<< "$nodes" | wc -l)" = "$1" ]
}

# make_hello NODE ADDRESS
make_hello() {
    sed "s/NODE/$1/; s/ADDRESS/$2/" "$here/hello.yaml" | kubectl --request-timeout=30s apply -f - > /dev/null
}

# prove_pod NODE NUMBER: a pod runs on NODE and answers by its own address, its service's, and through its service's name.
prove_pod() {
    local node=$1 address service
    service=$(hello_of "$2")
    wait_for 400 "the pod of $node cannot be made" make_hello "$node" "$service"
    kubectl rollout status "daemonset/hello-$node" --timeout="$((300 * patience))s" > /dev/null || fail "the pod of $node does not run"
    address=$(get pods -l "app=hello-$node" -o 'jsonpath={.items[0].status.podIP}')
    say "pod runs on $(get pods -l "app=hello-$node" -o 'jsonpath={.items[0].spec.nodeName}')"
    wait_for 120 "the pod's address does not answer" answers pod "http://$address/"
    wait_for 120 "the service's address does not answer" answers service "http://$service/"
    wait_for 120 "CoreDNS does not know hello-$node" resolves "hello-$node.default.svc.cluster.local" "$service"
    say "name hello-$node.default.svc.cluster.local is $service"
}

# The pod of the node itself asks in its own network: what goes this way has passed from one pod to another.
prove_from_pod() {
    local node task inside service number=1
    task=$(pgrep -o -x web)
    inside=(nsenter --net --target "$task")
    for node in "$@"; do
        service=$(hello_of $number)
        # After an upgrade a controller that has lost its lease makes CoreDNS's pods anew only when that has run out.
        wait_for 600 "a pod cannot ask for hello-$node" resolves "hello-$node.default.svc.cluster.local" "$service" "${inside[@]}"
        wait_for 120 "a pod does not reach $service" "${inside[@]}" curl --silent --fail --max-time 5 "http://$service/" --output /dev/null
        say "from a pod: hello-$node answers"
        number=$((number + 1))
    done
}

# What has been started again, and when: controllers that start before the API is first healthy end themselves and are
# started again, by upstream's own limits, which are too short for a slow machine. What has run since $1 must not.
late_restarts() {
    get pods -A -o 'jsonpath={range .items[*]}{.metadata.name} {range .status.containerStatuses[*]}{.restartCount} {.state.running.startedAt} {end}{"\n"}{end}' |
        awk -v ready="$1" '{ for (i = 2; i < NF; i += 2) if ($i != 0 && $(i + 1) > ready) print $1 }'
}

show_nodes() {
    get nodes -o wide | while IFS= read -r line; do say "node $line"; done
}

prove_cluster() {
    local nodes line ready late name number=1
    wait_for 900 "there are not $# Ready nodes" ready_nodes $#
    while IFS= read -r line; do say "node $line"; done <<< "$nodes"
    ready=$(date --utc +%Y-%m-%dT%H:%M:%SZ)
    for name in "$@"; do
        prove_pod "$name" $number
        number=$((number + 1))
    done
    wait_for 120 "the API's service does not answer" answers "API service" "https://$api/healthz"
    prove_from_pod "$@"
    for name in "$@"; do
        say "log: $(kubectl --request-timeout=30s logs "daemonset/hello-$name" | tail -n 1)"
    done
    kubectl wait --for=condition=Ready pod --all -A --timeout="$((400 * patience))s" > /dev/null || fail "not all pods are Ready"
    say "all pods Ready"
    get pods -A -o wide | while IFS= read -r line; do say "pod of $line"; done
    late=$(late_restarts "$ready")
    [ -z "$late" ] || fail "started again after the node was Ready: $late"
    get events -A --field-selector reason=NodeNotReady | while IFS= read -r line; do say "event $line"; done
    grep -h '\[WARNING' /var/log/kiso-node.log | while IFS= read -r line; do say "kubeadm warned: $line"; done || true
    wait_for 120 "a node is no longer Ready" ready_nodes $#
}

prove_worker() {
    local number
    for ((number = 1; number <= $#; number++)); do
        wait_for 1800 "a service's address does not answer" answers service "http://$(hello_of $number)/"
    done
    wait_for 120 "the API's service does not answer" answers "API service" "https://$api/healthz"
    prove_from_pod "$@"
}

watch() {
    local limit=$(($1 * patience)) uptime total available state round=0 file
    say "machine: $(systemd-detect-virt || true), $(nproc) processors"
    say "version: kubeadm version: $(kubeadm version -o short)"
    say "version: kubelet --version: $(kubelet --version)"
    say "version: containerd --version: $(containerd --version)"
    say "version: runc --version: $(runc --version | sed -n 1p)"
    say "version: uname -r -m: $(uname -r -m)"
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
        # A control plane that is too slow for its own limits says so only there, and who keeps it from going on here.
        if [ $((round += 1)) -ge 15 ] && [ ! -e /var/lib/kiso/node-done ]; then
            round=0
            show busiest 10 bash -c "top -b -w 100 -d 10 -n 2 | awk '/^%Cpu/ { n++ } n == 2 && !/^(MiB|$)/ && shown++ < 10'"
            [ ! -e /var/log/kiso-node.log ] || show kubeadm 2 tail -n 2 /var/log/kiso-node.log
            for file in /var/log/pods/kube-system_*/*/*.log; do
                [ ! -e "$file" ] || show "log of $(basename "$(dirname "$file")")" 1 tail -n 1 "$file"
            done
        fi
        sleep 20
    done
}

trap 'fail "line $LINENO of $(basename "$0")"' ERR
[ "${BASH_SOURCE[0]}" = "$0" ] || return 0 # upgrade.sh has use for the functions
command=$1
shift
case "$command" in
    watch) watch "$1" ;;
    cluster) prove_cluster "$@" ;;
    worker) prove_worker "$@" ;;
esac
