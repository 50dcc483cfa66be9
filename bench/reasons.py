"""Why a goal is not met, by row; shown only where that is so."""

REASONS: dict[str, str] = {
    "warm-2.0": """\
isobuilder waits until its ISO is on the disk (fsync) before it gives it a name; xorrisofs leaves it
in the page cache. What else it spends is two SHA-256 of every byte, of the ISO and of each file, so
that what a disk changed since it was stored is never written, one read from the page cache, one
write past it, and a third of a second of start-up, nearly all of it imports.""",
    "warm-0.85": """\
What isobuilder has to spend at this size is start-up, two SHA-256 of every byte, of the ISO and of
each file, one read from the page cache and one write past it. The wall time comes from three
threads, which need two free processors.""",
    "cold-full": """\
Every byte of an image is hashed four times: on arrival, as part of its archive (the manifest on
the ISO names that hash), and, while it is written, by itself and as part of the ISO; bytes of files
three times. The peers hash the ISO, and skopeo what it pulls. isobuilder also waits for the disk
(fsync) for each blob and for the ISO, and unpacks what is inside of images and archives to search
it for secrets, half of its time with real ones; the peers do neither. What was searched is noted by
its digest, and no later build does it again.""",
    "cold-throttled": """\
With n connections of 20 MiB/s the payload takes 41 s / n, so the number of transfers at once
decides: at most 8 to a host, and 16 in all; the registry alone takes 3 s of that. Behind them come
start-up, the search for secrets, the archives' hashes, the wait for the disk and the ISO itself,
which has to be written after the last byte has arrived.""",
    "images": """\
Start-up, nearly all of it imports, is a quarter of isobuilder's CPU time here and the rest is
hashing and copying; its threads share two processors with the registry.""",
    "unchanged": """\
What comes on top of importing the libraries of others is a start of our own: the classes of our
documents are made at each (a quarter of the looks below are at those of the settings), and then
lock, manifest and checksum file are read.""",
    "changed": """\
A start of a connection and one download of 70 MB, which is hashed on arrival and waited for on the
disk (fsync) before the ISO is begun.""",
    "verify": """\
Two SHA-256 of each byte, of the image and of its files, run side by side, so the goal needs two
free processors; on busy ones the ratio is that of the CPU times. Start-up and unpacking the CNI
archive, which happens after the hashing, come on top.""",
    "growth-files": """\
The writer alone is linear, some 75 us a file. What is taken off here is start-up, and what is left
of the 2,500 files is as short, so a hundredth of a second of noise moves the ratio by half a
point.""",
    "growth-bytes": """\
User time grows less than the bytes; what grows more is the kernel's, which reads 8 GB of blobs on a
machine whose memory they nearly fill.""",
}
