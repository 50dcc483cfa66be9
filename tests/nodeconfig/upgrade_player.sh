#!/bin/bash
# Plays kubectl, kubeadm, ctr, systemctl and others on one node of a cluster that is kept in $PLAY/cluster.json. What
# changes something is counted; $PLAY/kill says at which count, and on which side of it, the power goes.
set -euo pipefail
name=${0##*/}
cluster=$PLAY/cluster.json
self=$(< "$PLAY/self")
admin=yes
[[ ${KUBECONFIG:-} != */kubelet.conf ]] || admin=no
words=" $* "

change() {
    jq --arg self "$self" "$@" "$cluster" > "$cluster.new"
    mv "$cluster.new" "$cluster"
}

power() {
    [ "$(cat "$PLAY/kill" 2> /dev/null)" != "$1 $count" ] || kill -KILL 0
}

changing() {
    echo "$name $*" >> "$PLAY/changes"
    count=$(wc -l < "$PLAY/changes")
    power before
}

refuse() {
    echo "$1" >&2
    exit 1
}

node() {
    jq --arg name "$1" '.nodes[] | select(.metadata.name == $name)' "$cluster"
}

case "$name$words" in
    "kubectl "*" get --raw /readyz "*)
        [ -e "$KISO_KUBERNETES/manifests/kube-apiserver.yaml" ] || refuse 'The connection to the server was refused'
        ;;
    "kubectl "*" get configmap kubeadm-config "*)
        printf 'clusterName: lab\nkubernetesVersion: v%s\n' "$(jq -r .version "$cluster")"
        ;;
    "kubectl "*" get nodes "*)
        [ $admin = yes ] || refuse 'Error from server (Forbidden): nodes is forbidden'
        jq '{items: .nodes}' "$cluster"
        ;;
    "kubectl "*" get node "*)
        wanted=$(sed 's/.* get node \([^ ]*\).*/\1/' <<< "$words")
        [ $admin = yes ] || [ "$wanted" = "$self" ] || refuse 'Error from server (Forbidden): nodes is forbidden'
        node "$wanted"
        ;;
    "kubectl "*" get pods -l component=kube-apiserver "*)
        jq '{items: [.servers | to_entries[] | {spec: {nodeName: .key,
            containers: [{image: "registry.k8s.io/kube-apiserver:v\(.value)"}]}}]}' "$cluster"
        ;;
    "kubectl drain "*)
        [ $admin = yes ] || refuse 'Error from server (Forbidden)'
        changing "$@"
        [ ! -e "$PLAY/undrainable" ] || refuse 'error: cannot delete Pods that declare no controller: default/hello'
        change --arg name "$2" '(.nodes[] | select(.metadata.name == $name)).spec.unschedulable = true'
        power after
        ;;
    "kubectl "*" uncordon "*)
        [ $admin = yes ] || refuse 'Error from server (Forbidden)'
        changing "$@"
        change --arg name "${*: -1}" 'del((.nodes[] | select(.metadata.name == $name)).spec.unschedulable)'
        power after
        ;;
    "kubeadm config images list "*) cat "$PLAY/images" ;;
    "kubeadm certs check-expiration "*) cat "$PLAY/certificates" ;;
    "kubeadm upgrade "*)
        changing "$@"
        if [ -s "$PLAY/preflight" ]; then # what its checks find, one line each time
            found=$(head -n 1 "$PLAY/preflight")
            sed -i 1d "$PLAY/preflight"
            refuse "[preflight] Some fatal errors occurred:
$(printf '%b' "$found")
error: error execution phase preflight: preflight checks failed"
        fi
        version=$(cat "$PLAY/target")
        if [ "$2" = apply ]; then
            change --arg version "$version" '.servers[$self] = $version'
            power half
            change --arg version "$version" '.version = $version'
        elif [ "$(jq -r --arg self "$self" '.servers | has($self)' "$cluster")" = true ]; then
            change --arg version "$version" '.servers[$self] = $version'
        fi
        power after
        ;;
    "ctr "*" images ls "*) jq -r --arg self "$self" '.nodes[] | select(.metadata.name == $self).status.images[].names[]' "$cluster" ;;
    "ctr images import --help "*) echo "   --local  run on the client's side" ;;
    "ctr "*" images import "*)
        changing "$@"
        alias=$(jq -r --arg path "${*: -1}" '.images[] | . as $one | select($path | endswith($one.path)) | .import_alias' "$KISO_MEDIUM/manifest.json")
        change --arg alias "$alias" '(.nodes[] | select(.metadata.name == $self)).status.images += [{names: [$alias]}]'
        power after
        ;;
    "systemctl "*" kubelet.service ")
        changing "$@"
        if [ "$1" = stop ]; then
            ready=Unknown version=$(node "$self" | jq -r .status.nodeInfo.kubeletVersion)
        else
            ready=True version=$(< "$KISO_TOOLS/kubelet")
        fi
        change --arg ready $ready --arg version "$version" '(.nodes[] | select(.metadata.name == $self)).status |=
            (.conditions = [{type: "Ready", status: $ready}] | .nodeInfo.kubeletVersion = $version)'
        power after
        ;;
    "systemctl "*) changing "$@" && power after ;;
    "containerd --version ") echo "containerd github.com/containerd/containerd $(cat "$PLAY/containerd")" ;;
    "stat "*) cat "$PLAY/cgroup" ;;
    "hostname "*) cat "$PLAY/self" ;;
    *) refuse "not played: $name $*" ;;
esac
