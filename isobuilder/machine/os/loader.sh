# Runs beside the new root file system ($1), as mmdebstrap's hook: fetch the boot loaders' packages with its apt, so
# that they are checked like every other package, and take out what is needed. $LOADERS is filled in by the builder.
set -eu
work=$1/boot/kiso
mkdir -p "$work/loader"
cd "$work"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get -o APT::Sandbox::User=root --quiet download $LOADERS
apt-cache show --no-all-versions $LOADERS > loader.list
for package in *.deb; do
    dpkg-deb -x "$package" loader
    rm "$package"
done
cp loader/usr/lib/shim/shim*.efi.signed shim.efi
cp loader/usr/lib/shim/mm*.efi.signed mok-manager.efi
cp loader/usr/lib/grub/*-efi-signed/gcd*.efi.signed grub.efi
