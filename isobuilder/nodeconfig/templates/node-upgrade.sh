#!/bin/bash
# Brings a running cluster to the Kubernetes of the ISO that this script lies on, one node after another. Every step first
# looks whether it is done, so that after an interruption the same call goes on where it was.
#
#   upgrade images           on every node, before all else: new pods start anywhere as soon as the first node is done
#   upgrade check            on a control plane: whether cluster and ISO fit; changes nothing
#   upgrade                  this node: control plane, programs; a control plane also drains itself and comes back
#   upgrade drain NODE       on a control plane, before the worker NODE
#   upgrade uncordon NODE    on a control plane, after it
#
# Images on all nodes, then the control planes, then the workers. `isobuilder node upgrade` writes the order for a cluster.
set -Eeuo pipefail

medium=${KISO_MEDIUM:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
running=${KISO_RUNNING:-/run/kiso/medium} # the medium this machine was started from, if it was
here=${KISO_NODE:-/etc/kiso/node}
state=${KISO_STATE:-/var/lib/kiso}
kubernetes=${KISO_KUBERNETES:-/etc/kubernetes}
units=${KISO_UNITS:-/etc/systemd/system}
local=${KISO_LOCAL:-/usr/local} # containerd and runc
cni=${KISO_CNI:-/opt/cni/bin}
tools=${KISO_TOOLS:-/opt/bin} # kubeadm, kubelet, kubectl, crictl
[ -e "$tools/kubelet" ] || tools=$(dirname "$(command -v kubelet || echo /opt/bin/kubelet)")
images=${KISO_IMAGES:-/var/lib/containerd}
log=${KISO_LOG:-/var/log/kiso-upgrade.log}
parts='(runtime|cni|cri-tools)/[^/]*' # the runtime on the medium
pause=${KISO_PAUSE:-5}        # seconds between two questions
patience=${KISO_TIME:-1200}   # seconds that a control plane, a drain or a node may take

say() {
    printf 'upgrade: %s\n' "$*"
}

# stop FACT HINT: nothing goes on behind it.
stop() {
    trap - ERR
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

# try NAME COMMAND [ARGUMENT]...: run it, keep what it prints, say how long it took; its last words if it fails.
try() {
    local name=$1 began=$SECONDS from result=0
    shift
    from=$(wc -c < "$log")
    say "$name: begins"
    "$@" >> "$log" 2>&1 < /dev/null || result=$?
    if [ $result != 0 ]; then
        tail -c "+$((from + 1))" "$log" | tail -n 12 | sed 's/^/log: /' >&2
        return $result
    fi
    say "$name: done in $((SECONDS - began)) s"
}

# wait_until SECONDS NAME COMMAND [ARGUMENT]...: ask again and again.
wait_until() {
    local limit=$1 name=$2 began=$SECONDS
    shift 2
    until "$@"; do
        [ $((SECONDS - began)) -lt "$limit" ] || return 1
        sleep "$pause"
    done
    say "$name: done in $((SECONDS - began)) s"
}

kube() {
    kubectl --request-timeout=60s "$@" 2>> "$log"
}

# older A B: whether version A comes before version B.
older() {
    [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | sed -n 1p)" = "$1" ]
}

minor() {
    cut -d . -f 2 <<< "$1"
}

is_control_plane() {
    [ -e "$kubernetes/manifests/kube-apiserver.yaml" ]
}

# has_admin: whether this call may do more than a kubelet.
has_admin() {
    [ "$KUBECONFIG" != "$kubernetes/kubelet.conf" ]
}

# The medium: a whole one, for this machine, with every image that its kubeadm wants.

read_medium() {
    command -v jq > /dev/null || stop "jq is not installed on this machine" "install it; this script reads manifest.json with it"
    [ -s "$medium/manifest.json" ] || stop "there is no manifest.json in $medium" "mount the new ISO and call the script that lies on it"
    target=$(jq -r .kubernetes_version "$medium/manifest.json")
    local wanted have
    wanted=$(jq -r .architecture "$medium/manifest.json")
    case "$(uname -m)" in
        x86_64) have=amd64 ;;
        aarch64) have=arm64 ;;
        *) have=$(uname -m) ;;
    esac
    [ "$wanted" = "$have" ] || stop "the ISO is for $wanted and this machine is $have" "mount the ISO for $have"
}

on_medium() {
    jq -r '.images[] | .import_alias, (.names // [])[]' "$medium/manifest.json" | sort -u
}

check_medium() {
    local wanted missing programs='k8s/(kubeadm|kubelet|kubectl)|manifest\.json|kubelet\.service|10-kubeadm\.conf'
    # All that is installed; the archives of images are looked at when each is imported.
    (cd "$medium" && grep -E " ($programs|$parts)$" SHA256SUMS |
        sha256sum --check --quiet --strict) >> "$log" 2>&1 ||
        stop "the medium in $medium is damaged" "compare the ISO with its .sha256 file, then write or attach it again"
    wanted=$("$medium/k8s/kubeadm" config images list --kubernetes-version "v$target" 2>> "$log") ||
        stop "kubeadm of the ISO does not run here" "is $medium mounted with the option noexec? See $log"
    missing=$(comm -23 <(sort -u <<< "$wanted") <(on_medium))
    [ -z "$missing" ] || stop "the ISO lacks ${missing//$'\n'/, }, which kubeadm v$target wants" \
        "build the ISO from a recipe with images.from: [kubeadm]"
}

# whole PATH: whether a file of the medium has the digest that the medium promises.
whole() {
    (cd "$medium" && grep " $1\$" SHA256SUMS | sha256sum --check --quiet --strict)
}

# The cluster: every question is asked anew, for others may be at work.

cluster_version() {
    kube -n kube-system get configmap kubeadm-config -o 'jsonpath={.data.ClusterConfiguration}' |
        sed -n 's/^kubernetesVersion: *v//p'
}

# NAME VERSION READY ROLE of every node
list_nodes() {
    kube get nodes -o json | jq -r '.items[] | [.metadata.name, (.status.nodeInfo.kubeletVersion | ltrimstr("v")),
        ([.status.conditions[]? | select(.type == "Ready") | .status][0] // "Unknown"),
        (if (.metadata.labels // {}) | has("node-role.kubernetes.io/control-plane") or has("node-role.kubernetes.io/master")
            then "control-plane" else "worker" end)] | @tsv'
}

# check_step FROM WHAT: whether kubeadm goes from version FROM to that of the medium.
check_step() {
    if older "$target" "$1"; then
        stop "$2 has v$1 and the ISO v$target: Kubernetes does not go back" "use an ISO of v$1 or newer"
    fi
    if [ $(($(minor "$target") - $(minor "$1"))) -gt 1 ]; then
        stop "$2 has v$1 and the ISO v$target: kubeadm goes from one minor to the next" \
            "bring the cluster to an ISO of 1.$(($(minor "$1") + 1)) first"
    fi
}

# check_cluster [NODE]: whether all fits, and all nodes but NODE, which may be at work, are Ready.
check_cluster() {
    local name version ready others
    current=$(cluster_version) || current=
    [ -n "$current" ] || stop "the cluster does not say its version" \
        "does the API answer (kubectl get nodes), and was the cluster made by kubeadm? See $log"
    check_step "$current" "the cluster"
    has_admin || return 0 # a kubelet is told about its own node only
    nodes=$(list_nodes) || stop "the cluster does not list its nodes" "does kubectl get nodes answer here? See $log"
    while IFS=$'\t' read -r name version ready _; do
        check_step "$version" "node $name"
        [ "$ready" = True ] || [ "$name" = "${1:-}" ] ||
            stop "node $name is not Ready" "see kubectl describe node $name; an upgrade begins with all nodes well"
    done <<< "$nodes"
    others=$(cut -f 2 <<< "$nodes" | sort -uV | grep -Fxv "$target" || true)
    [ "$(wc -l <<< "$others")" = 1 ] ||
        stop "the nodes have several versions beside v$target: $(paste -sd ' ' <<< "$others")" \
            "finish the earlier upgrade with its own ISO, then come back with this one"
    if [ -n "$others" ] && [ "$current" != "$target" ] && [ "$others" != "$current" ]; then
        stop "the cluster has v$current and its nodes v$others" "finish the upgrade to v$current with its own ISO first"
    fi
}

# begun_elsewhere: a control plane beside this one whose upgrade was cut off before the cluster was told.
begun_elsewhere() {
    kube -n kube-system get pods -l component=kube-apiserver -o json |
        jq -r --arg own "$node" --arg tag ":v$target" \
            '.items[] | select(.spec.nodeName != $own and (.spec.containers[0].image | endswith($tag))) | .spec.nodeName' |
        head -n 1
}

check_certificates() {
    local dates expired
    is_control_plane || return 0
    dates=$("$medium/k8s/kubeadm" certs check-expiration 2>> "$log") ||
        stop "kubeadm does not tell the dates of the certificates" "see $log"
    expired=$(awk '/<invalid>/ { print $1 }' <<< "$dates" | paste -sd ' ')
    [ -z "$expired" ] || stop "certificates have expired: $expired" \
        "kubeadm certs renew all, restart the control plane's pods, then call this again; see kubeadm certs check-expiration"
    expired=$(awk '$1 ~ /^(ca|etcd-ca|front-proxy-ca)$/ && / [0-9]+[dhm] / {
        for (i = 2; i <= NF; i++) if ($i ~ /^([0-9]|[12][0-9])d$|^[0-9]+[hm]$/) print $1 }' <<< "$dates" | paste -sd ' ')
    [ -z "$expired" ] || stop "certificate authorities end within 30 days: $expired" \
        "replace them first; an upgrade renews all other certificates, and not these"
}

check_machine() {
    local runtime
    if [ "$(minor "$target")" -ge 35 ] && [ "$(stat -f -c %T "${KISO_CGROUP:-/sys/fs/cgroup}")" != cgroup2fs ]; then
        stop "kubelet v$target does not start on this machine: it has control groups of version 1" \
            "start the machine with systemd.unified_cgroup_hierarchy=1, or from the new ISO"
    fi
    takes_runtime && return
    runtime=$(containerd --version 2> /dev/null | awk '{ print $3 }') || runtime=
    if [ "$(minor "$target")" -ge 37 ] && [[ ${runtime#v} == 1.* ]]; then
        stop "kubelet v$target wants containerd 2 and this machine has $runtime" "bring containerd to version 2 first"
    fi
}

api_answers() {
    kube get --raw /readyz > /dev/null
}

# put_back: kubeadm takes a manifest away before it puts the new one in its place. Cut off between the two, the program never
# comes again; the old manifest is in a folder named by the time, of which the last one is meant.
put_back() {
    local name file backup
    for name in etcd kube-apiserver kube-controller-manager kube-scheduler; do
        [ ! -e "$kubernetes/manifests/$name.yaml" ] || continue
        backup=''
        for file in "$kubernetes"/tmp/kubeadm-backup-manifests-*/"$name.yaml"; do
            [ ! -e "$file" ] || backup=$file
        done
        [ -n "$backup" ] || continue
        install -m 0600 "$backup" "$kubernetes/manifests/$name.yaml"
        say "$name: its manifest was taken away and is back"
    done
}

# carry_on: after a kubeadm that was cut off the API may be on its way, or need a hand.
carry_on() {
    [ -e "$done_here/begun" ] && [ ! -e "$done_here/kubeadm" ] || return 0
    say "an earlier try did not finish: going on"
    put_back
    wait_until "$patience" "API" api_answers ||
        stop "the API does not answer after $patience s" "see journalctl -u kubelet and crictl ps -a on this machine"
}

# The steps of one node.

archives_wanted() {
    local present
    present=$(ctr -n k8s.io images ls -q 2>> "$log") || stop "containerd does not answer" "see journalctl -u containerd"
    jq -r '.images[] | "\(.import_alias) \(.path) \(.reference | split("@")[0]) \(.size)"' "$medium/manifest.json" |
        while read -r alias path repository size; do
            grep -Fxq "$alias" <<< "$present" || echo "$path $repository $size"
        done
}

import_archive() {
    local path=$1 repository=$2 option=''
    whole "$path" || return 1
    # containerd 2 imports on the server's side unless told otherwise, and then images have other digests.
    if [[ $(ctr images import --help 2> /dev/null) == *--local* ]]; then option=--local; fi
    # shellcheck disable=SC2086 # empty or one word
    ctr -n k8s.io images import $option --digests --base-name "$repository" "$medium/$path"
}

import_images() {
    local wanted path repository size need free
    wanted=$(archives_wanted)
    if [ -z "$wanted" ]; then
        say "images: all there"
        return
    fi
    # An image is kept as it came and unpacked beside that: 4.3 times as much in all for those of Kubernetes 1.37.
    need=$(awk '{ all += $3 } END { print int(all * 5 / 1048576) + 64 }' <<< "$wanted")
    free=$(df --output=avail -m "$images" | tail -n 1)
    [ "$free" -ge "$need" ] || stop "the images need about $need MiB in $images, $free MiB are free there" \
        "make room; kubectl get node $node -o yaml lists images that nobody may need"
    while read -r path repository size; do
        try "image $repository" import_archive "$path" "$repository" ||
            stop "containerd did not take $path ($repository)" "see $log; compare the ISO with its .sha256 file"
    done <<< "$wanted"
    wanted=$(archives_wanted)
    [ -z "$wanted" ] || stop "after the import containerd does not know ${wanted%% *}" "report this ISO to its builder"
}

# upgrade_settings: what kubeadm is told; since 1.31 also how patient it is to be, for slow machines.
upgrade_settings() {
    local limit
    printf 'apiVersion: kubeadm.k8s.io/v1beta4\nkind: UpgradeConfiguration\n'
    for kind in apply node; do
        [ $kind = apply ] && printf 'apply:\n  kubernetesVersion: v%s\n' "$target" || printf 'node:\n'
        [ ! -d "$here/patches" ] || printf '  patches: {directory: %s}\n' "$here/patches"
        printf '  etcdUpgrade: true\n  certificateRenewal: true\n'
    done
    printf 'timeouts:\n'
    for limit in controlPlaneComponentHealthCheck etcdAPICall kubeletHealthCheck kubernetesAPICall upgradeManifests; do
        printf '  %s: %ss\n' $limit "$patience"
    done
}

# kubeadm_upgrade apply|node: kubeadm may be called again at any time and ends at the same place.
kubeadm_upgrade() {
    local words=(upgrade "$1")
    if [ "$(minor "$target")" -ge 31 ]; then
        upgrade_settings > "$done_here/kubeadm.yaml"
        words+=(--config "$done_here/kubeadm.yaml")
        [ "$1" = node ] || words+=(--yes)
    else
        [ "$1" = node ] || words+=("v$target" --yes)
        [ ! -d "$here/patches" ] || words+=(--patches "$here/patches")
    fi
    try "kubeadm upgrade $1" "$medium/k8s/kubeadm" "${words[@]}"
}

# without_images: nodes that do not have the new kube-proxy, which starts on all of them at once. A kubelet names fifty images
# and no more, the largest; of one that names as many nothing is known.
without_images() {
    kube get nodes -o json | jq -r --arg tag "/kube-proxy:v$target" '.items[] | . as $node | (.status.images // []) as $all
        | select(($all | length) < 50 and ([$all[].names[]? | select(endswith($tag))] == [])) | $node.metadata.name'
}

all_have_images() {
    [ -z "$(without_images)" ]
}

# job_was_late: whether kubeadm gave up for this alone. Before it changes anything it has the cluster run a job, and waits one
# minute. Behind an API that was away that is too short: who schedules is started again ever more slowly, and may wait until the
# lease of one that was killed has ended. kubeadm says the name of each check that failed.
job_was_late() {
    [ "$(tail -n 40 "$log" | grep -o '\[ERROR [^]]*\]' | sort -u || true)" = '[ERROR CreateJob]' ]
}

upgrade_control_plane() {
    local other how=node end
    if [ -e "$done_here/kubeadm" ]; then
        say "kubeadm upgrade: done earlier"
        return
    fi
    if is_control_plane; then
        if [ "$current" != "$target" ]; then
            other=$(begun_elsewhere) || stop "the cluster does not list its API servers" "does kubectl answer here? See $log"
            [ -z "$other" ] || stop "the upgrade of $other has begun and is not finished" "call this script on $other first"
            # What a kubelet tells of its images is up to a minute old.
            wait_until 90 "images of all nodes" all_have_images ||
                stop "images of v$target are missing on $(without_images | paste -sd ' ')" \
                    "on each of them: mount the new ISO and call this script with the word images"
            how=apply
        elif [ -e "$done_here/apply" ]; then
            how=apply # the cluster was told, and what comes behind that was cut off
        fi
        [ $how = node ] || mark apply
        mark begun
    elif [ "$current" != "$target" ]; then
        stop "the control planes have v$current yet" "bring them to v$target first, then the workers"
    fi
    end=$((SECONDS + patience))
    until kubeadm_upgrade $how; do
        if [ $SECONDS -ge $end ] || ! job_was_late; then
            stop "kubeadm upgrade $how failed" "see $log; call this again when the cause is gone, kubeadm goes on where it was"
        fi
        say "the cluster has not run kubeadm's job in time: once more"
        sleep "$pause"
    done
    mark kubeadm
}

# mark NAME [TEXT]: remember on this machine that a step is done, or has begun, once everything it wrote is on the disk.
mark() {
    sync
    printf '%s' "${2:-}" > "$done_here/$1"
    sync "$done_here" 2> /dev/null || sync
}

# setups: the media whose programs were unpacked onto this machine when it was started from them. One more puts its own
# containerd in the place of that of an upgrade.
setups() {
    (cd "$state" && echo setup.*)
}

# takes_runtime: whether this machine has its containerd from such a medium, and the new one has another.
takes_runtime() {
    [ -e "$running/SHA256SUMS" ] || return 1
    [ "$(cat "$done_here/runtime" 2> /dev/null)" != "$(setups)" ] || return 1
    ! cmp -s <(parts_of "$running") <(parts_of "$medium")
}

parts_of() {
    grep -E " $parts$" "$1/SHA256SUMS"
}

# new_program NAME: whether the program is not yet the one of the medium.
new_program() {
    ! cmp -s "$medium/k8s/$1" "$tools/$1"
}

programs_are_old() {
    new_program kubelet || new_program kubectl || new_program kubeadm || takes_runtime
}

node_json() {
    kube get node "$1" -o json
}

is_cordoned() {
    [ "$(node_json "$1" | jq -r '.spec.unschedulable // false')" = true ]
}

# upgraded NODE: whether its kubelet has the new version and is well.
upgraded() {
    [ "$(node_json "$1" | jq -r '[.status.nodeInfo.kubeletVersion,
        ([.status.conditions[]? | select(.type == "Ready") | .status][0] // "Unknown")] | join(" ")')" = "v$target True" ]
}

drain() {
    if ! is_cordoned "$1"; then mark "cordoned.$1"; fi
    try "drain $1" kubectl drain "$1" --ignore-daemonsets --delete-emptydir-data --timeout="${patience}s" ||
        stop "$1 cannot be drained" \
            "pods that nobody would make again, or that may not be fewer, keep it: see $log, move or delete them, call this again"
}

uncordon() {
    kube uncordon "$1" >> "$log" || stop "$1 cannot be let in again" "kubectl uncordon $1; see $log"
    rm -f "$done_here/cordoned.$1"
    say "$1 takes pods again"
}

# empty_node: no pods while kubelet and runtime change.
empty_node() {
    if has_admin; then
        drain "$node"
    elif ! is_cordoned "$node"; then
        stop "$node is not drained" "on a control plane: bash SCRIPT drain $node, with this script of the new ISO"
    fi
}

# Whoever calls these asks for the result, and then bash does not stop by itself.
install_runtime() {
    tar -xzf "$(only 'runtime/containerd-linux-*.tar.gz')" --no-same-owner -C "$local" &&
        install_file "$medium/runtime/runc" "$local/sbin/runc" &&
        tar -xzf "$(only 'cni/cni-plugins-*.tgz')" --no-same-owner -C "$cni" &&
        tar -xzf "$(only 'cri-tools/crictl-linux-*.tar.gz')" --no-same-owner -C "$tools" &&
        systemctl restart containerd.service && mark runtime "$(setups)"
}

# only PATTERN: the file of the medium that matches; bootable ISOs have one of each.
only() {
    compgen -G "$medium/$1" | sed -n 1p
}

# install_file FROM TO [MODE]: the old file stays until the new one is whole.
install_file() {
    install -m "${3:-0755}" "$1" "$2.new" && sync "$2.new" && mv "$2.new" "$2"
}

# The programs are copies: the medium may be taken away, and a restart of the machine finds them.
install_programs() {
    local name
    systemctl stop kubelet.service || return 1
    if takes_runtime; then install_runtime || return 1; fi
    for name in kubectl kubeadm kubelet; do
        if new_program $name; then install_file "$medium/k8s/$name" "$tools/$name" || return 1; fi
    done
    if [ -e "$running/SHA256SUMS" ]; then
        mkdir -p "$units/kubelet.service.d" &&
            install_file "$medium/kubelet.service" "$units/kubelet.service" 0644 &&
            install_file "$medium/10-kubeadm.conf" "$units/kubelet.service.d/10-kubeadm.conf" 0644 || return 1
    fi
    systemctl daemon-reload
}

check_room() {
    local free
    free=$(df --output=avail -m "$tools" | tail -n 1)
    [ "$free" -ge 320 ] || stop "the programs need 320 MiB in $tools, $free MiB are free there" "make room, or use a larger disk"
}

upgrade_node() {
    carry_on
    check_cluster "$node"
    check_certificates
    check_machine
    if upgraded "$node" && ! programs_are_old && [ -e "$done_here/kubeadm" ]; then
        say "$node has v$target"
    else
        import_images
        upgrade_control_plane
        if programs_are_old; then
            check_room
            empty_node
            try "programs" install_programs || stop "the programs could not be put in place" "see $log, then call this again"
        fi
        try "kubelet" systemctl restart kubelet.service || stop "the kubelet does not start" "see journalctl -u kubelet"
        wait_until "$patience" "node $node Ready with v$target" upgraded "$node" ||
            stop "$node is not Ready with v$target after $patience s" "see journalctl -u kubelet, then call this again"
    fi
    if has_admin && [ -e "$done_here/cordoned.$node" ]; then uncordon "$node"; fi
    say "done: $node v$target"
}

# before_worker NODE: control planes come first, and NODE is one that there is.
before_worker() {
    local line waiting
    has_admin || stop "this is no control plane" "call this on a control plane, or name an administrator's file in KUBECONFIG"
    check_cluster "$1"
    line=$(awk -F '\t' -v name="$1" '$1 == name' <<< "$nodes")
    [ -n "$line" ] || stop "there is no node $1" "the nodes are: $(cut -f 1 <<< "$nodes" | paste -sd ' ')"
    waiting=$(awk -F '\t' -v version="$target" '$4 == "control-plane" && $2 != version { print $1 }' <<< "$nodes" | paste -sd ' ')
    if [ "$current" != "$target" ] || [ -n "$waiting" ]; then
        stop "the control planes are not at v$target yet: ${waiting:-the cluster has v$current}" \
            "call this script there first, one after another"
    fi
}

(umask 077 && : >> "$log") || stop "$log cannot be written" "this script is for root"
trap 'stop "line $LINENO of the upgrade script failed" "see $log on this machine"' ERR
if [ -z "${KUBECONFIG:-}" ]; then
    KUBECONFIG=$kubernetes/admin.conf
    [ -e "$KUBECONFIG" ] || KUBECONFIG=$kubernetes/kubelet.conf
fi
export KUBECONFIG
[ -e "$KUBECONFIG" ] || stop "this machine is no node of a cluster: $KUBECONFIG is missing" "call this on a node"
node=$(sed -n "s/^NODE=//p" "$here/settings" 2> /dev/null | tr -d "'\"" || true)
[ -n "$node" ] || node=$(hostname | tr '[:upper:]' '[:lower:]')
read_medium
done_here=$state/upgrade-v$target
mkdir -p "$done_here"
exec 9> "$state/upgrade.lock"
flock -n 9 || stop "another upgrade is at work on this machine" "wait for its end"
case "${1:-node}" in
    images)
        check_medium
        import_images
        say "done: images of v$target"
        ;;
    check)
        check_medium
        check_cluster
        check_certificates
        check_machine
        say "the cluster has v$current and can be brought to v$target"
        ;;
    node)
        check_medium
        upgrade_node
        ;;
    drain)
        before_worker "${2:?a node}"
        drain "$2"
        ;;
    uncordon)
        before_worker "${2:?a node}"
        wait_until "$patience" "node $2 Ready with v$target" upgraded "$2" ||
            stop "$2 is not Ready with v$target" "call this script on $2, between drain and uncordon"
        uncordon "$2"
        ;;
    *) stop "$1: no such step" "upgrade [images | check | drain NODE | uncordon NODE]" ;;
esac
