#!/bin/bash
# Brings a running cluster to the ISO that is attached beside the one it was started from, by kubeadm's own commands in the
# order of its documentation and of Mold's script: images everywhere first, then node by node drain, upgrade, new kubelet,
# uncordon. What it finds goes to the console in lines that begin with "lab: ".
#
#   upgrade.sh control VERSION KILL NODE...   on the control plane, which drains all nodes; KILL yes: kubeadm is killed once
#   upgrade.sh worker VERSION                 on a worker, which waits until it is drained
set -euo pipefail

here=$(dirname "$0")
# shellcheck source-path=SCRIPTDIR source=proof.sh
. "$here/proof.sh"
new=/run/lab/new
config=/run/lab/upgrade.yaml
log=/var/log/lab-upgrade.log
own=$(hostname)

# find_medium VERSION: mount the ISO that has it.
find_medium() {
    local device
    mkdir -p $new
    for device in /dev/sr*; do
        mount -o ro "$device" $new 2> /dev/null || continue
        if [ "$($new/k8s/kubeadm version -o short 2> /dev/null)" = "v$1" ]; then
            say "upgrade: v$1 is on $device"
            return
        fi
        umount $new
    done
    fail "no disc has Kubernetes $1"
}

preload() {
    local archive repository
    (cd $new && sha256sum --check --quiet --strict SHA256SUMS) || fail "the new medium is damaged"
    jq -r '.images[] | "\(.path) \(.reference | split("@")[0])"' $new/manifest.json |
        while read -r archive repository; do
            ctr -n k8s.io images import --local --digests --base-name "$repository" "$new/$archive" > /dev/null
        done
    say "upgrade: images of the new medium are there"
}

# Limits for a slow machine: kubeadm's own are for a fast one.
write_config() {
    local limit=$((1800 * patience))s
    cat > $config << EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: UpgradeConfiguration
apply: {kubernetesVersion: v$1, patches: {directory: /etc/kiso/node/patches}}
node: {patches: {directory: /etc/kiso/node/patches}}
timeouts: {upgradeManifests: $limit, kubernetesAPICall: $limit, etcdAPICall: $limit, controlPlaneComponentHealthCheck: $limit}
EOF
}

api_is_ok() {
    kubectl --request-timeout=20s get --raw /readyz > /dev/null 2>&1
}

apply() {
    kubeadm upgrade apply --yes --config $config >> $log 2>&1
}

# Kill kubeadm when it has put the first new manifest in place, and that component is going down.
killed_apply() {
    local kubeadm
    kubeadm upgrade apply --yes --config $config >> $log 2>&1 &
    kubeadm=$!
    until grep -q 'Moving new manifest' $log; do
        kill -0 $kubeadm 2> /dev/null || fail "kubeadm ended before it could be killed: $(tail -n 3 $log)"
        sleep 1
    done
    kill -KILL $kubeadm
    wait $kubeadm 2> /dev/null || true
    say "upgrade: killed behind: $(grep -m 1 'Moving new manifest' $log)"
    wait_for 1800 "the API is not back after kubeadm was killed" api_is_ok
}

new_program() {
    install -m 0755 "$new/k8s/$1" "/opt/bin/$1.new"
    mv "/opt/bin/$1.new" "/opt/bin/$1"
}

new_programs() {
    new_program kubelet
    new_program kubectl
    systemctl daemon-reload
    systemctl restart kubelet
}

has_version() {
    [ "$(get node "$1" -o 'jsonpath={.status.nodeInfo.kubeletVersion} {.status.conditions[?(@.type=="Ready")].status}')" = "v$2 True" ]
}

is_preloaded() {
    [ "$(get node "$1" -o 'jsonpath={.metadata.annotations.lab/preloaded}')" = yes ]
}

is_drained() {
    [ "$(get node "$own" -o 'jsonpath={.metadata.annotations.lab/drained}')" = yes ]
}

drain() {
    timeout $((1800 * patience)) kubectl drain "$1" --ignore-daemonsets --delete-emptydir-data >> $log 2>&1 || fail "$1 is not drained"
    say "upgrade: $1 is drained"
}

uncordon() {
    wait_for 1800 "$1 does not come with v$2" has_version "$1" "$2"
    wait_for 300 "$1 cannot be uncordoned" kubectl --request-timeout=30s uncordon "$1"
    say "upgrade: $1 is v$2"
}

# Which pods of ours there are, and since when: those of before have to be the same after.
pods_of_before() {
    get pods -o 'jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.status.containerStatuses[0].state.running.startedAt}{"\n"}{end}' | sort
}

core_images() {
    get pods -n kube-system -l tier=control-plane -o 'jsonpath={range .items[*]}{.spec.containers[0].image}{"\n"}{end}' | sort
}

# Whether every pod that runs for good is Ready; kubeadm's own check leaves one behind that has ended.
all_pods_ready() {
    kubectl --request-timeout=30s wait --for=condition=Ready pod -A --field-selector status.phase!=Succeeded --all --timeout=60s > /dev/null 2>&1
}

upgrade_control() {
    local version=$1 kill=$2 before after node line
    shift 2
    find_medium "$version"
    preload
    write_config "$version"
    before=$(pods_of_before)
    while IFS= read -r line; do say "before: $line"; done <<< "$before"
    for node in "$@"; do
        [ "$node" = "$own" ] || wait_for 1800 "$node has no images of the new medium" is_preloaded "$node"
    done
    drain "$own"
    new_program kubeadm
    if [ "$kill" = yes ]; then killed_apply; fi
    say "upgrade: kubeadm upgrade apply begins"
    apply || fail "kubeadm upgrade apply: $(tail -n 3 $log)"
    say "upgrade: kubeadm upgrade apply is done"
    new_programs
    uncordon "$own" "$version"
    for node in "$@"; do
        [ "$node" != "$own" ] || continue
        drain "$node"
        wait_for 120 "$node cannot be told" kubectl --request-timeout=30s annotate --overwrite node "$node" lab/drained=yes
        uncordon "$node" "$version"
    done
    wait_for 900 "there are not $# Ready nodes" ready_nodes $#
    show_nodes
    core_images | while IFS= read -r line; do say "core: $line"; done
    after=$(pods_of_before)
    [ "$before" = "$after" ] || fail "pods of before are others now: $after"
    say "after: the pods of before run"
    prove_from_pod "$@"
    wait_for 900 "not all pods are Ready" all_pods_ready
    say "all pods Ready after the upgrade"
}

upgrade_worker() {
    find_medium "$1"
    preload
    write_config "$1"
    wait_for 300 "nobody can be told of the images" kubectl --request-timeout=30s annotate --overwrite node "$own" lab/preloaded=yes
    wait_for 7200 "this node is never drained" is_drained
    say "upgrade: kubeadm upgrade node begins"
    new_program kubeadm
    kubeadm upgrade node --config $config >> $log 2>&1 || fail "kubeadm upgrade node: $(tail -n 3 $log)"
    new_programs
    wait_for 1800 "this node does not come with v$1" has_version "$own" "$1"
    say "upgrade: kubeadm upgrade node is done"
}

command=$1
shift
case "$command" in
    control) upgrade_control "$@" ;;
    worker) upgrade_worker "$@" ;;
esac
