"""An example or two for the help of each command."""

EXAMPLES = {
    "recipe list": ("isobuilder recipe list", "isobuilder recipe list --json"),
    "recipe new": ("isobuilder recipe new 1.36.6 -o my.yaml",),
    "recipe check": ("isobuilder recipe check my.yaml",),
    "recipe show": ("isobuilder recipe show my.yaml --arch arm64",),
    "recipe import": ("isobuilder recipe import kubernetes-1.34.12.json --out recipes",),
    "recipe schema": ("isobuilder recipe schema > recipe.schema.json",),
    "lock": (
        "isobuilder lock my.yaml",
        "isobuilder lock my.yaml --arch amd64 --update kubeadm",
        "isobuilder lock my.yaml --locked   # only tell what upstream would change",
    ),
    "plan": ("isobuilder plan 1.36.5", "isobuilder plan my.yaml other.amd64.lock.json --json"),
    "fetch": ("isobuilder fetch 1.36.5", "isobuilder fetch *.lock.json --limit-rate 20M"),
    "build": (
        "isobuilder build 1.36.5",
        "isobuilder build my.yaml --arch amd64 --out /srv/isos",
        "isobuilder build dist/NAME.lock.json --check dist/NAME.iso",
    ),
    "verify": (
        "isobuilder verify dist/*.iso",
        "isobuilder verify NAME.iso --lock NAME.lock.json",
        "isobuilder verify NAME.iso --trust   # who signed what, without a network",
        "isobuilder verify NAME.iso --key release.pub",
        "isobuilder verify NAME.iso --key keys.yaml --signatures 2",
    ),
    "sign": (
        "isobuilder sign NAME.iso --key release.pem",
        "isobuilder sign dist/*.iso --key 'pkcs11:object=release?module-path=/usr/lib/token.so'",
        "isobuilder sign --key release.pem --print-key > release.pub",
    ),
    "trust rebuild": (
        "isobuilder trust rebuild 1.37.1 --file kubeadm --file kubectl",
        "isobuilder trust rebuild 1.37.1 --file kubelet --chroot bullseye --out proofs",
    ),
    "trust show": ("isobuilder trust show", "isobuilder trust show my.yaml --json"),
    "inspect": ("isobuilder inspect 1.36.5", "isobuilder inspect NAME.iso"),
    "diff": (
        "isobuilder diff 1.34.9 1.34.12",
        "isobuilder diff old.amd64.lock.json new.amd64.lock.json --exit-code",
        "isobuilder diff mine.yaml theirs.yaml",
    ),
    "report": (
        "isobuilder report NAME.iso",
        "isobuilder report 1.36.5 --lang ko -o kubernetes.html",
    ),
    "catalogue": (
        "isobuilder catalogue /srv/isos --out site",
        "isobuilder catalogue /srv/isos --out site --server lab --url https://iso.example/",
    ),
    "sbom write": (
        "isobuilder sbom write NAME.iso -o NAME.deep.cdx.json",
        "isobuilder sbom write 1.36.6 --format spdx",
        "isobuilder sbom write NAME.iso --image registry.k8s.io/kube-proxy",
    ),
    "sbom diff": (
        "isobuilder sbom diff old.iso new.iso --markdown > packages.md",
        "isobuilder sbom diff old.amd64.lock.json new.amd64.lock.json --exit-code",
    ),
    "sbom gate": (
        "isobuilder sbom gate NAME.iso --list grype.json --fail-on critical",
        "isobuilder sbom gate NAME.iso --list osv.jsonl --vex our.vex.json --policy gate.yaml",
    ),
    "sbom vex": ("isobuilder sbom vex NAME.iso our.vex.json",),
    "upstream list": ("isobuilder upstream list", "isobuilder upstream list --recipes recipes/"),
    "upstream check": (
        "isobuilder upstream check",
        "isobuilder upstream check --recipes recipes/ --hold-days 3 --exit-code --json",
    ),
    "upstream propose": (
        "isobuilder upstream propose 1.37 -o kubernetes-1.37.2.yaml",
        "isobuilder upstream propose latest --explain",
    ),
    "upstream sync": (
        "isobuilder upstream sync policy.yaml --report report.md",
        "isobuilder upstream sync policy.yaml --metrics /var/lib/node_exporter/isobuilder.prom",
    ),
    "upstream schedule": (
        "isobuilder upstream schedule --format systemd --out /etc",
        "isobuilder upstream schedule --format github --out .",
    ),
    "upstream rules": (
        "isobuilder upstream rules",
        "isobuilder upstream rules --rules mine.yaml --json",
    ),
    "matrix": (
        "isobuilder matrix --recipes recipes",
        "isobuilder matrix --recipes recipes --format gitlab > jobs.yml",
        "isobuilder matrix --format kubernetes --image registry.example/isobuilder:1",
    ),
    "matrix status": (
        "isobuilder matrix status dist --recipes recipes",
        "isobuilder matrix status machine-a machine-b --hash --exit-code",
    ),
    "node user-data": (
        "isobuilder node user-data --role first-control-plane --name one --kubernetes 1.34.12",
    ),
    "node cluster": ("isobuilder node cluster cluster.yaml --out nodes",),
    "node kubeconfig": ("isobuilder node kubeconfig cluster.yaml --out admin.conf",),
    "node upgrade": (
        "isobuilder node upgrade NAME.iso --cluster cluster.yaml",
        "isobuilder node upgrade NAME.iso --nodes nodes.json --json",
    ),
    "node seed": ("isobuilder node seed nodes/one --out seed.iso",),
    "node secrets": ("isobuilder node secrets secrets",),
    "node schema": ("isobuilder node schema > cluster.schema.json",),
    "store list": ("isobuilder store list", "isobuilder store list 1.36.5"),
    "store check": ("isobuilder store check",),
    "store gc": (
        "isobuilder store gc *.lock.json --dry-run",
        "isobuilder store gc *.lock.json --max-size 20G",
    ),
    "site export": (
        "isobuilder site export 1.36.6 --out bundle.tar --part-size 4G",
        "isobuilder site export dist/*.iso --out bundle.tar",
        "isobuilder site export 1.36.6 --out bundle.tar --part-size 4G --part 3",
    ),
    "site check": (
        "isobuilder site check *.iso --have 1.35.9",
        "isobuilder site check bundle.*.tar --nodes nodes.json",
    ),
    "site ledger": (
        "isobuilder site ledger /srv/isos --site plant-7 --out ledger.png",
        "isobuilder site ledger --read ledger.png --site plant-7 dist",
    ),
    "site delta": (
        "isobuilder site delta OLD.iso NEW.iso --out new.delta",
        "isobuilder site delta --show new.delta",
    ),
    "site apply": (
        "isobuilder site apply OLD.iso new.delta --out NEW.iso",
        "isobuilder site apply OLD.iso first.delta second.delta --out NEW.iso",
    ),
    "site protect": ("isobuilder site protect NAME.iso --percent 5",),
    "site repair": (
        "isobuilder site repair NAME.iso --from /srv/isos/OTHER.iso --offline",
        "isobuilder site repair /media/cdrom/NAME.iso --out NAME.iso",
    ),
    "site import": (
        "isobuilder site import bundle.*.tar",
        "isobuilder site import /media/stick",
        "isobuilder site import NAME.iso",
    ),
    "os build": ("isobuilder os build", "isobuilder os build --kernel generic"),
    "os list": ("isobuilder os list",),
    "os show": ("isobuilder os show debian-13",),
    "os export": ("isobuilder os export debian-13 --out payload",),
    "os remove": ("isobuilder os remove debian-13-generic",),
    "boot": ("isobuilder boot NAME.iso --seed seed.iso",),
    "config show": ("isobuilder config show --config site.yaml",),
    "site push": (
        "isobuilder site push NAME.iso --registry https://harbor.example/kubernetes",
        "isobuilder site push /srv/isos --registry http://127.0.0.1:5000 --json",
    ),
    "site serve": (
        "isobuilder site serve /srv/isos --listen :5000",
        "isobuilder site serve NAME.iso --listen :443 --tls-cert site.pem --access-log log",
        "isobuilder site serve /srv/isos --listen :5000 --systemd > isobuilder-site.service",
    ),
    "demo": ("isobuilder demo", "isobuilder demo --serve --port 8099"),
    "completion": ("isobuilder completion bash",),
    "doctor": ("isobuilder doctor", "isobuilder doctor os boot-amd64 --json"),
    "man": ("isobuilder man build", "isobuilder man --out ~/.local/share/man/man1"),
    "mold check": ("isobuilder mold check --server lab",),
    "mold list": ("isobuilder mold list --server lab --json",),
    "mold zones": ("isobuilder mold zones --server lab",),
    "mold show": ("isobuilder mold show v1.34.12-mold-cks-amd64-r1 --server lab",),
    "mold enable": ("isobuilder mold enable v1.34.12-mold-cks-amd64-r1 --server lab",),
    "mold disable": ("isobuilder mold disable v1.34.12-mold-cks-amd64-r1 --server lab",),
    "mold delete": ("isobuilder mold delete v1.34.12-mold-cks-amd64-r1 --server lab --dry-run",),
    "mold events": ("isobuilder mold events --server lab --limit 20",),
    "mold setting": ("isobuilder mold setting storage.max.volume.size --server lab",),
    "mold apply": ("isobuilder mold apply plan.json --dry-run",),
    "mold simulate": ("isobuilder mold simulate --port 8123",),
    "mold audit": ("isobuilder mold audit --server lab --server prod",),
    "mold register": (
        "isobuilder mold register NAME.iso --url https://iso.example/NAME.iso --server lab",
    ),
}
"""Command, without the program's name -> lines to type."""
