"""Why a goal is not met, by row; shown only where that is so."""

REASONS: dict[str, str] = {
    "warm-0.85": """\
What isobuilder has to spend at this size is start-up (0.35 CPU s, nearly all of it imports), one
SHA-256 of every byte (0.5 s), and one copy into the page cache (0.3 to 0.4 s of system time, if
memory is at hand). That is 0.94 of the peers' CPU time, so there is next to no room for noise: on
a machine that is busy or short of free memory the system time of the very same copy was seen to
vary from 0.3 to 1.1 s. The wall time comes from three threads, which need two free processors.
Runs of this row alone on 21 Nov 2026: 0.94x and 0.95x of the CPU; with foreign work on half of the
processors 0.72x of the wall time, with foreign work on four fifths of them 1.19x.""",
    "cold-full": """\
Every byte of an image is hashed three times: on arrival, as part of its archive (the manifest on
the ISO names that hash), and as part of the ISO; bytes of files twice. The peers hash the ISO, and
skopeo what it pulls. isobuilder also waits for the disk (fsync) for each blob and for the ISO,
which the peers do not; that and the processors' other work make the wall time.""",
    "cold-throttled": """\
With n connections of 20 MiB/s the payload of 0.86 GB takes 41 s / n, so the number of transfers at
once decides: at most 8 to a host, and 16 in all since these figures showed that 8 in all is too
few for files and images side by side. What follows, archives and ISO, is bound by processors.""",
    "images": """\
Of isobuilder's CPU time 0.3 s is start-up; without it the ratio is within the goal. The wall time
is that of 40 blobs being synced to the disk each, by 8 threads on two busy processors; skopeo
syncs nothing.""",
    "verify": """\
Two SHA-256 of each byte, of the image and of its files, run side by side, so the goal needs two
free processors; on busy ones the ratio is that of the CPU times. Start-up is 0.3 s of it, and
unpacking the CNI archive, which happens after the hashing, 0.1 s.""",
    "growth-files": """\
The writer alone is linear: 74 to 76 us a file at 10,000 and 20,000 files, 71 to 90 us at 2,500 and
5,000. What is taken off here is a fifth of a second of start-up, and what is left of the 2,500
files is as short, so a hundredth of a second of noise moves the ratio by half a point.""",
}
