#!/bin/bash
# What the tests of addresses, upgrades and several control planes do on their nodes. All of it goes to the console, in lines
# that begin with "lab: ".
#
#   node.sh answers FAMILY...      a pod of this node answers at an address of each kind, and so does the API's service
#   node.sh follow COUNTER KILL    the steps of /opt/lab/plan.json that are for this node, word for word, each in its turn;
#                                  COUNTER is the node that keeps count, KILL yes: the first upgrade is killed in its middle
#   node.sh watch NODE             from when three nodes are Ready until the API says that NODE is not: how long it does not
#                                  answer at its address, every time that happens
set -euo pipefail

export HOME=/root KUBECONFIG=/etc/kubernetes/admin.conf
[ -e $KUBECONFIG ] || KUBECONFIG=/etc/kubernetes/kubelet.conf
patience=${LAB_PATIENCE:-$(cat /opt/lab/patience 2> /dev/null || echo 1)}
export KISO_TIME=$((1200 * patience)) # the patience of the medium's own script
own=$(hostname)

say() {
    printf '<4>lab: %.400s\n' "$*" > /dev/kmsg
}

fail() {
    trap - ERR
    { kubectl --request-timeout=30s get nodes,pods,services -A -o wide 2>&1 || true; } | tail -n 40 |
        while IFS= read -r line; do say "objects: $line"; done
    { journalctl --quiet --no-pager -o cat -u kubelet -n 15 || true; } | while IFS= read -r line; do say "kubelet: $line"; done
    printf '<3>kiso: error: lab: %.300s\n' "$*" > /dev/kmsg
    exit 1
}

# wait_for SECONDS WHAT COMMAND [ARGUMENT]...: ask every 5 s.
wait_for() {
    local end=$((SECONDS + $1 * patience)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "$what"
        sleep 5
    done
}

get() {
    kubectl --request-timeout=30s get "$@" 2> /dev/null
}

# A worker asks as its kubelet, which may make nothing.
made() {
    [ $KUBECONFIG = /etc/kubernetes/kubelet.conf ] || kubectl --request-timeout=30s apply -f /opt/lab/web.yaml > /dev/null 2>&1
}

# addresses FAMILY JSONPATH KIND...: those of a family, of any object.
addresses() {
    local family=$1 path=$2
    shift 2
    get "$@" -o "jsonpath=$path" | tr ' ' '\n' | if [ "$family" = 6 ]; then grep :; else grep -v :; fi
}

url() {
    if [[ $1 == *:* ]]; then echo "[$1]"; else echo "$1"; fi
}

fetched() {
    body=$(curl --globoff --insecure --silent --fail --noproxy '*' --max-time 5 "$1") && [ -n "$body" ]
}

pod_address() {
    address=$(addresses "$1" '{.items[*].status.podIPs[*].ip}' pods -l app=web --field-selector "spec.nodeName=$own") &&
        [ -n "$address" ]
}

service_address() {
    address=$(addresses "$1" '{.spec.clusterIPs[*]}' service web) && [ -n "$address" ]
}

# The controller manager gives them, in its time: a node with the bridge is Ready without.
pod_networks() {
    networks=$(get node "$own" -o 'jsonpath={.spec.podCIDRs[*]}') && [ -n "$networks" ]
}

answers() {
    local family
    wait_for 600 "the pods cannot be made" made
    say "node addresses: $(get node "$own" -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}')"
    for family in "$@"; do
        wait_for 600 "the pod has no IPv$family address" pod_address "$family"
        wait_for 300 "the pod does not answer at $address" fetched "http://$(url "$address")/"
        say "IPv$family pod answers: $body"
        wait_for 300 "the service has no IPv$family address" service_address "$family"
        wait_for 300 "the service does not answer at $address" fetched "http://$(url "$address")/"
        say "IPv$family service answers: $body"
    done
    address=$(get service kubernetes -o 'jsonpath={.spec.clusterIP}')
    wait_for 300 "the API's service does not answer" fetched "https://$(url "$address")/healthz"
    say "API service answers: $body"
    wait_for 600 "the node has no pod networks" pod_networks
    say "pod networks: $networks"
}

counted() {
    local count
    count=$(get node "$1" -o 'jsonpath={.metadata.annotations.lab/done}') || count=''
    [ "${count:-0}" -ge "$2" ]
}

count() {
    kubectl --request-timeout=30s annotate --overwrite node "$1" "lab/done=$2" > /dev/null 2>&1
}

api_is_ok() {
    kubectl --request-timeout=20s get --raw /readyz > /dev/null 2>&1
}

# run COMMAND: as a person would type it; what it prints goes to the console.
run() {
    local result=0
    bash -c "$1" > /var/log/lab-step.log 2>&1 || result=$?
    while IFS= read -r line; do say "said: $line"; done < /var/log/lab-step.log
    [ $result = 0 ] || fail "a step ended with $result: $1"
}

# killed COMMAND: the same, and the power goes for it and all it started once kubeadm has put a new manifest in place.
killed() {
    local group
    KISO_LOG=/var/log/kiso-upgrade.log setsid bash -c "$1" > /var/log/lab-step.log 2>&1 &
    group=$!
    until grep -q 'Moving new manifest' /var/log/kiso-upgrade.log 2> /dev/null; do
        kill -0 $group 2> /dev/null || fail "it ended before it could be killed: $(tail -n 3 /var/log/lab-step.log)"
        sleep 1
    done
    kill -KILL -- -$group
    wait $group || true
    say "killed in the middle: $(tail -n 1 /var/log/kiso-upgrade.log)"
    wait_for 1800 "the API is not back" api_is_ok
}

follow() {
    local counter=$1 kill=$2 number total node what command
    total=$(jq '.steps | length' /opt/lab/plan.json)
    for ((number = 1; number <= total; number++)); do
        IFS=$'\t' read -r node what command < <(jq -r ".steps[$number - 1] | [.node, .what, .command] | @tsv" /opt/lab/plan.json)
        if [ "$node" != "$own" ]; then
            wait_for 7200 "step $number on $node does not end" counted "$counter" $number
            continue
        fi
        wait_for 7200 "step $((number - 1)) does not end" counted "$counter" $((number - 1))
        say "step $number on $node: $what"
        if [ "$kill" = yes ] && [[ $what == "upgrade the control plane"* ]]; then
            killed "$command"
            kill=no
        fi
        run "$command"
        wait_for 600 "step $number cannot be counted" count "$counter" $number
    done
    say "all $total steps are done: $(get nodes --no-headers 2> /dev/null | awk '{ print $1, $2, $5 }' | paste -sd ,)"
}

ready_is() {
    [ "$(get nodes --no-headers | awk '$2 == "Ready"' | wc -l)" = "$1" ]
}

is_gone() {
    [ "$(get node "$1" --no-headers | awk '{ print $2 }')" = NotReady ]
}

# absences ADDRESS: say how long the API did not answer there, every time that it took 2 s or more. A connection that was
# begun while an address moved waits for it and then succeeds: so it is time that tells, and not what failed.
absences() {
    local asked
    while sleep 1; do
        asked=$SECONDS
        until fetched "https://$1/healthz"; do sleep 1; done
        [ $((SECONDS - asked)) -lt 2 ] || say "API at $1 answers again after $((SECONDS - asked)) s"
    done
}

watch() {
    local other=$1 api watcher
    # shellcheck source=/dev/null
    api=$(. /etc/kiso/node/settings && echo "$API")
    wait_for 7200 "there are not three Ready nodes" ready_is 3
    say "three nodes are Ready, watching the API at $api"
    absences "$api" &
    watcher=$!
    wait_for 1800 "$other is not switched off, or the API is gone for good" is_gone "$other"
    kill $watcher
    say "the API at $api knows that $other is gone"
}

trap 'fail "line $LINENO of node.sh"' ERR
command=$1
shift
"$command" "$@"
