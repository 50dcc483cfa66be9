#!/bin/sh
# Runs once inside the new root file system, after our own files were copied in. What lies in /boot leaves the
# root file system afterwards: the builder takes the kernel, the initramfs and /boot/kiso from there.
set -eu
architecture=$1
work=/boot/kiso
version=$(basename /boot/vmlinuz-*)
version=${version#vmlinuz-}

# kubeadm reads the kernel's configuration and looks here when /boot has none.
cp "/boot/config-$version" "/usr/lib/modules/$version/config"
# iptables brings ebtables-nft; Debian's ebtables package would bring perl.
[ -e /usr/sbin/ebtables ] || ln -s ebtables-nft /usr/sbin/ebtables
ln -sf /run/systemd/resolve/stub-resolv.conf /boot/kiso/resolv.conf

systemctl --quiet enable systemd-networkd.service systemd-resolved.service ssh.service
systemctl --quiet enable kiso-setup.service containerd.service kiso-images.service kiso-report.service
systemctl --quiet mask systemd-firstboot.service apt-daily.timer apt-daily-upgrade.timer
systemctl --quiet set-default multi-user.target
# Drivers as they are: what Debian packed one by one has no byte in common with that of the next kernel, and the
# root file system and the initramfs pack them anyway.
find "/usr/lib/modules/$version" -name '*.ko.xz' -exec unxz {} +
depmod "$version"
update-initramfs -u -k "$version"
# By zlib instead of gzip: whoever applies a delta compresses it once more, and has zlib at hand.
python3 -c 'import gzip, sys
with open(sys.argv[1], "r+b") as file:
    data = gzip.compress(gzip.decompress(file.read()), 9, mtime=0)
    file.seek(0)
    file.truncate()
    file.write(data)' "/boot/initrd.img-$version"

# The boot loader for BIOS: the suite's own grub-mkimage, with every module it needs inside. Its prefix has no
# device, so GRUB reads the medium it was started from.
if [ "$architecture" = amd64 ]; then
    LD_LIBRARY_PATH=$work/loader/usr/lib/x86_64-linux-gnu "$work/loader/usr/bin/grub-mkimage" \
        -O i386-pc-eltorito -d "$work/loader/usr/lib/grub/i386-pc" -p /boot/grub -o "$work/bios.img" \
        biosdisk iso9660 part_msdos part_gpt ext2 normal search search_fs_file search_label configfile linux \
        echo serial terminal test minicmd ls reboot halt sleep all_video probe cat true regexp
    head -c 512 "$work/loader/usr/lib/grub/i386-pc/boot_hybrid.img" > "$work/bios.mbr"
fi

# Everything that differs from build to build, or says where the packages came from.
cp "$work/loader.list" "$work/packages.list"
dpkg-query -W -f '${Package}:${Architecture}=${Version}\n' > "$work/installed"
xargs apt-cache show --no-all-versions < "$work/installed" >> "$work/packages.list"
rm -rf "$work/loader" "$work/loader.list" "$work/installed"
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /etc/hostname /etc/resolv.conf
: > /etc/machine-id
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb
rm -f /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -f /var/lib/systemd/random-seed /var/lib/systemd/catalog/database
find /var/log -xdev -type f -delete
find /usr /opt /var -xdev -type d -name __pycache__ -prune -exec rm -rf {} +
mv "$work/resolv.conf" /etc/resolv.conf
