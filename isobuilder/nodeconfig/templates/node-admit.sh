#!/bin/bash
# Lets nodes into the cluster again: the token that this control plane was made with counts anew, and so do the
# certificates for further control planes. No secret is shown; the same seeds, or new ones of the same folder of secrets,
# are what the nodes start with.
#
#   admit            for as long as the cluster file says (token_ttl; certificates for two hours)
#   admit NODE       the same, and NODE, which is gone for good, is forgotten first: a new machine takes its place
set -euo pipefail

here=${KISO_NODE:-/etc/kiso/node}
kubernetes=${KISO_KUBERNETES:-/etc/kubernetes}
export KUBECONFIG=${KUBECONFIG:-$kubernetes/admin.conf}
# shellcheck source=/dev/null
. "$here/settings"

stop() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

# setting KEY: the value of a key of kubeadm's configuration, in either form of its lists.
setting() {
    sed -n "s/^[ -]*$1: *//p" "$here/kubeadm.yaml" | tr -d "\"'" | sed -n 1p
}

etcdctl() {
    kubectl -n kube-system exec "etcd-$NODE" -- etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt \
        --cert /etc/kubernetes/pki/etcd/peer.crt --key /etc/kubernetes/pki/etcd/peer.key "$@"
}

forget() {
    local ready member
    [ "$1" != "$NODE" ] || stop "$1 is this very node" "call this on another control plane"
    ready=$(kubectl get node "$1" --ignore-not-found -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
    [ "$ready" != True ] || stop "$1 is Ready" "a node that works is not replaced; drain it and switch it off first"
    member=$(etcdctl member list | awk -F ', ' -v name="$1" '$3 == name { print $1 }')
    if [ -n "$member" ]; then
        etcdctl member remove "$member" > /dev/null
        echo "admit: etcd has forgotten $1"
    fi
    kubectl delete node "$1" --ignore-not-found
}

# alone: why no control plane can join one that was made to be the only one, and how it could.
alone() {
    local first='' manifests=$kubernetes/manifests
    if grep -q -s -e --leader-elect=false "$manifests/kube-controller-manager.yaml" "$manifests/kube-scheduler.yaml"; then
        first="remove --leader-elect=false from kube-controller-manager.yaml and kube-scheduler.yaml in $manifests and leader-elect \
from what kubectl -n kube-system edit configmap kubeadm-config shows, or several would lead at once; then "
    fi
    echo "admit: control planes may not join: this one was made to be the only one, without a certificate key"
    echo "hint: ${first}write certificateKey: and the key in the folder of secrets (isobuilder node secrets makes one)" \
        "behind kind: InitConfiguration in $here/kubeadm.yaml, and call this again"
}

[ -e "$KUBECONFIG" ] || stop "$KUBECONFIG is missing" "call this on a control plane that is up"
[ -z "${1:-}" ] || forget "$1"
token=$(setting token)
key=$(setting certificateKey)
until=()
[ "$TOKEN_TTL" = 0s ] || until=(--from-literal=expiration="$(date --utc --date="+${TOKEN_TTL%s} seconds" +%Y-%m-%dT%H:%M:%SZ)")
kubectl -n kube-system delete secret "bootstrap-token-${token%%.*}" --ignore-not-found > /dev/null
# As an argument others on this machine could read it.
kubectl -n kube-system create secret generic "bootstrap-token-${token%%.*}" --type=bootstrap.kubernetes.io/token \
    --from-file=token-id=<(printf %s "${token%%.*}") --from-file=token-secret=<(printf %s "${token#*.}") \
    --from-literal=usage-bootstrap-authentication=true --from-literal=usage-bootstrap-signing=true \
    --from-literal=auth-extra-groups=system:bootstrappers:kubeadm:default-node-token "${until[@]}" > /dev/null
echo "admit: nodes may join${until[0]:+ until ${until[0]#*expiration=}}"
if [ -z "$key" ]; then
    alone
    exit 0
fi
config=$(mktemp)
trap 'rm -f "$config"' EXIT
api=$(kubeadm config print init-defaults | sed -n 's/^apiVersion: *//p' | sed -n 1p)
# With a version of its own kubeadm asks no server for the newest.
printf 'apiVersion: %s\nkind: InitConfiguration\ncertificateKey: %s\n---\napiVersion: %s\nkind: ClusterConfiguration\n' \
    "$api" "$key" "$api" > "$config"
printf 'kubernetesVersion: %s\n' "$(kubeadm version -o short)" >> "$config"
kubeadm init phase upload-certs --upload-certs --skip-certificate-key-print --config "$config" > /dev/null
echo "admit: control planes may join for two hours"
