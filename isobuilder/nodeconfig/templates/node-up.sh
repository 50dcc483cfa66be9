#!/bin/bash
# Brings this machine up as a Kubernetes node. kiso-node.service runs it: at first from cloud-init, and at every later
# boot until it has succeeded once. Every try starts from the beginning, until kubeadm has ended well: from then on this is
# a node of a cluster, which nothing undoes, and a try does the rest.
set -Eeuo pipefail

here=${KISO_NODE:-/etc/kiso/node}
state=${KISO_STATE:-/var/lib/kiso}
medium=${KISO_MEDIUM:-/run/kiso/medium}
kubernetes=${KISO_KUBERNETES:-/etc/kubernetes}
pods=${KISO_PODS:-/var/log/pods}
console=${KISO_CONSOLE:-/dev/kmsg}
log=${KISO_LOG:-/var/log/kiso-node.log}
pause=${KISO_PAUSE:-5} # seconds between two questions

# ROLE, NODE, VERSION, SOCKET, API, ADDRESS, TOKEN_TTL, MANIFEST, UPLOAD_CERTS, WAIT_READY, CONTROL_PLANE_TIME, JOIN_TIME, READY_TIME
# shellcheck source=/dev/null
. "$here/settings"

say() {
    # The kernel log goes to every console and gets the time since power-on; one write is one line.
    printf '<4>kiso: node: %.400s\n' "$*" >> "$console"
}

# The last words of the kubelet and of every container: who sees only the console should see why.
evidence() {
    local file name
    journalctl --quiet --no-pager -o cat -u kubelet -n 15 2> /dev/null | while IFS= read -r line; do
        say "kubelet: $line"
    done
    for file in "$pods"/*/*/*.log; do
        [ -e "$file" ] || continue
        name=${file#"$pods"/*/}
        tail -n 3 "$file" | while IFS= read -r line; do
            say "${name%.log}: $line"
        done
    done
}

# give_up FACT HINT: the end, with what kubeadm said last.
give_up() {
    trap - ERR
    evidence || true
    printf '<3>kiso: error: node: %.400s\n' "$1" >> "$console"
    tail -n 12 "$log" | while IFS= read -r line; do
        printf '<3>kiso: node: log: %.300s\n' "$line" >> "$console"
    done
    printf '<3>kiso: hint: %.400s\n' "$2" >> "$console"
    exit 1
}

seconds() {
    local uptime
    IFS=' .' read -r uptime _ < /proc/uptime
    echo "$uptime"
}

memory() {
    awk '/^MemTotal:/ { total = $2 } /^MemAvailable:/ { free = $2 }
        END { printf "%d of %d MiB of memory in use", (total - free) / 1024, total / 1024 }' /proc/meminfo
}

# try NAME COMMAND [ARGUMENT]...: run it, keep what it prints, say how long it took.
try() {
    local name=$1 began result=0
    shift
    began=$(seconds)
    say "$name: begins"
    "$@" >> "$log" 2>&1 || result=$?
    [ $result = 0 ] || return $result
    say "$name: done in $(($(seconds) - began)) s, $(memory)"
}

# wait_until SECONDS NAME COMMAND [ARGUMENT]...: ask again and again; a word a minute.
wait_until() {
    local limit=$1 name=$2 began told now
    shift 2
    began=$(seconds)
    told=$began
    until "$@"; do
        now=$(seconds)
        [ $((now - began)) -lt "$limit" ] || return 1
        if [ $((now - told)) -ge 60 ]; then
            say "$name: still waiting after $((now - began)) s"
            told=$now
        fi
        sleep "$pause"
    done
    say "$name: done in $(($(seconds) - began)) s, $(memory)"
}

api_answers() {
    [ "$(curl --globoff --insecure --silent --noproxy '*' --max-time 10 "https://$API/healthz" 2>> "$log")" = ok ]
}

# For how many seconds the present kubelet has been running.
kubelet_age() {
    local began
    began=$(systemctl show --property=ExecMainStartTimestampMonotonic --value kubelet 2>> "$log") || began=
    [[ $began =~ ^[0-9]+$ ]] || began=0
    echo $(($(seconds) - began / 1000000))
}

node_is_ready() {
    local form='{range .status.conditions[?(@.type=="Ready")]}{.status} {.lastHeartbeatTime}{end}' answer told age
    answer=$(kubectl --request-timeout=20s get node "$NODE" -o "jsonpath=$form" 2>> "$log") || return 1
    [ "${answer%% *}" = True ] || return 1
    told=$(date --date="${answer#* }" +%s 2>> "$log") || return 1
    # kubeadm init ends with a restart of the kubelet, and a kubelet begins by calling its node not ready: what the one
    # before it said does not count. Times are whole seconds; after a minute nothing is left of a kubelet before.
    age=$(kubelet_age)
    [ "$age" -ge 60 ] || [ $(($(date +%s) - told)) -lt $((age - 1)) ]
}

apply_manifest() {
    kubectl --request-timeout=60s apply -f "$medium/$MANIFEST" >> "$log" 2>&1
}

# Undo what an earlier try left behind, and put in place what kubeadm expects to find.
start_over() {
    if [ -e "$state/node-begun" ]; then
        say "an earlier try did not finish: starting over"
        kubeadm reset --force --cri-socket "$SOCKET" >> "$log" 2>&1 || true
    fi
    : > "$state/node-begun"
    if [ -e "$here/ca.key" ]; then
        install -d -m 0755 "$kubernetes/pki"
        install -m 0644 "$here/ca.crt" "$kubernetes/pki/ca.crt"
        install -m 0600 "$here/ca.key" "$kubernetes/pki/ca.key"
    fi
}

# virtual_ip: the static pod that has the API's address where this node's API server is well.
virtual_ip() {
    local interface
    [ -e "$here/virtual-ip.yaml" ] || return 0
    interface=$(ip -json address show 2>> "$log" | jq -r --arg own "$ADDRESS" \
        '.[] | select(any(.addr_info[]; .local == $own)) | .ifname' | sed -n 1p)
    [ -n "$interface" ] || give_up "no interface has the address $ADDRESS" "see ip address on this machine"
    sed "s/@INTERFACE@/$interface/" "$here/keepalived.conf.in" > "$here/keepalived.conf"
    systemctl enable --now kiso-virtual-ip.service >> "$log" 2>&1 ||
        give_up "kiso-virtual-ip.service does not start" "see journalctl -u kiso-virtual-ip on this machine"
    install -d -m 0700 "$kubernetes/manifests"
    install -m 0600 "$here/virtual-ip.yaml" "$kubernetes/manifests/virtual-ip.yaml"
}

own_api_answers() {
    [ "$(curl --insecure --silent --noproxy '*' --max-time 10 https://127.0.0.1:6443/healthz 2>> "$log")" = ok ]
}

own_api_comes() {
    wait_until "$CONTROL_PLANE_TIME" "own API" own_api_answers
}

init() {
    local options=(--skip-token-print --config "$here/kubeadm.yaml") tries=3 count
    if [ "$UPLOAD_CERTS" = yes ]; then
        options+=(--upload-certs --skip-certificate-key-print)
    fi
    for ((count = 1; count <= tries; count++)); do
        if try "kubeadm init" kubeadm init "${options[@]}"; then
            break
        fi
        # On a busy machine single requests time out. What was done stays, and the rest can be done again; but a
        # control plane that never came up does not come up by asking twice.
        if [ $count = $tries ] || [ ! -e "$kubernetes/admin.conf" ] || ! own_api_comes; then
            give_up "kubeadm init failed" "see $log and journalctl -u kubelet on this machine"
        fi
        say "kubeadm init failed late: carrying on"
        [ $count -gt 1 ] || options+=(--skip-phases=preflight)
    done
}

network() {
    [ -n "$MANIFEST" ] || return 0
    # A control plane that has just come up goes away again on a busy machine, as long as it is given to come up.
    wait_until "$CONTROL_PLANE_TIME" "network $MANIFEST" apply_manifest && return
    own_api_answers || give_up "no API to apply $MANIFEST by after $CONTROL_PLANE_TIME s" \
        "see journalctl -u kubelet and crictl ps -a on this machine"
    give_up "kubectl refused $MANIFEST" "see $log; choose a manifest of this ISO with cni, or none"
}

join() {
    local tries=3 count
    wait_until "$JOIN_TIME" "API at $API" api_answers ||
        give_up "no API at https://$API/healthz for $JOIN_TIME s" \
            "is the first control plane up, and is there a route to it?"
    for ((count = 1; count <= tries; count++)); do
        if try "kubeadm join" kubeadm join --config "$here/kubeadm.yaml"; then
            return
        fi
        [ $count -lt $tries ] || break
        say "kubeadm join failed: starting over"
        kubeadm reset --force --cri-socket "$SOCKET" >> "$log" 2>&1 || true
        sleep "$pause"
    done
    give_up "kubeadm join failed $tries times" \
        "is the token still valid (kubeadm token list), and is the clock of this machine right?"
}

# mark NAME: remember how far this machine is, and all that was written before.
mark() {
    sync
    : > "$state/$1"
    sync "$state" 2> /dev/null || sync
}

# commands FILE: the administrator's own, if there are any.
commands() {
    [ -e "$here/$1" ] || return 0
    try "commands $1" bash -e "$here/$1" || give_up "a command of $1 failed" "see $log on this machine"
}

mkdir -p "$state"
if [ -e "$state/node-done" ]; then
    say "$NODE was brought up by an earlier boot"
    exit 0
fi
(umask 077 && : >> "$log")
trap 'give_up "line $LINENO of the start script failed" "see $log on this machine"' ERR

say "starting $NODE as $ROLE of Kubernetes v$VERSION"
if [ -e /etc/systemd/system/containerd.service.d/10-kiso-proxy.conf ]; then
    try "containerd with its proxy" systemctl restart containerd.service ||
        give_up "containerd does not start" "see journalctl -u containerd on this machine"
fi
joined=no
if [ -e "$state/node-joined" ]; then
    joined=yes
    say "kubeadm was done by an earlier try: doing the rest"
else
    start_over 2>> "$log"
fi
if [ -e "$here/sysctl.conf" ]; then
    sysctl --quiet --load="$here/sysctl.conf" >> "$log" 2>&1 ||
        give_up "IPv6 cannot be forwarded" "see $log; is IPv6 switched off on the kernel's command line?"
fi
if [ $joined = yes ]; then
    [ "$ROLE" = worker ] || own_api_comes ||
        give_up "the API server of this node does not answer after $CONTROL_PLANE_TIME s" \
            "see journalctl -u kubelet and crictl ps -a on this machine"
else
    commands before
fi
if [ "$ROLE" = first-control-plane ]; then
    export KUBECONFIG=$kubernetes/admin.conf
    if [ $joined = no ]; then
        virtual_ip # the cluster is made by that address
        init
        mark node-joined
    fi
    network
else
    if [ $joined = no ]; then
        join
        mark node-joined
    fi
    [ "$ROLE" = worker ] || virtual_ip
    export KUBECONFIG=$kubernetes/kubelet.conf
fi
if [ "$ROLE" != worker ]; then
    export KUBECONFIG=$kubernetes/admin.conf
    install -d -m 0700 "${HOME:-/root}/.kube"
    install -m 0600 "$KUBECONFIG" "${HOME:-/root}/.kube/config"
fi
if [ "$WAIT_READY" = yes ]; then
    wait_until "$READY_TIME" "node $NODE Ready" node_is_ready ||
        give_up "$NODE is not Ready after $READY_TIME s" "see journalctl -u kubelet, and kubectl describe node $NODE"
fi
commands after
mark node-done
say "up: $NODE"
