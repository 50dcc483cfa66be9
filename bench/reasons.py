"""Why a goal is not met, by row; shown only where that is so."""

REASONS: dict[str, str] = {
    "warm-0.85": """\
What isobuilder has to spend at this size is start-up (0.35 CPU s, nearly all of it imports), one
SHA-256 of every byte (0.5 s), and one copy into the page cache (0.3 to 0.4 s of system time, if
memory is at hand). That is close to the goal, so there is next to no room for noise: on
a machine that is busy or short of free memory the system time of the very same copy was seen to
vary from 0.3 to 1.1 s. The wall time comes from three threads, which need two free processors.
A second run of this row, two rounds at a load average of 9 to 15, gave 0.95x of the CPU and 1.19x
of the wall time. At a load of 3 to 4 isobuilder took 1.23 CPU s and 1.54 s, xorrisofs alone 0.70
and 1.36 s; with openssl's 0.61 and 0.76 s of another run that makes 0.94x and 0.73x, a sum,
not a paired measurement.""",
    "cold-full": """\
Every byte of an image is hashed three times: on arrival, as part of its archive (the manifest on
the ISO names that hash), and as part of the ISO; bytes of files twice. The peers hash the ISO, and
skopeo what it pulls. isobuilder also waits for the disk (fsync) for each blob and for the ISO,
which the peers do not.""",
    "cold-throttled": """\
With n connections of 20 MiB/s the payload of 0.86 GB takes 41 s / n, so the number of transfers at
once decides: at most 8 to a host, and 16 in all since these figures showed that 8 in all is too
few for files and images side by side. Fetching is 39 % of the profile below and writing the ISO,
on busy processors, 47 %: both have to shrink for the goal.""",
    "images": """\
Of isobuilder's CPU time about 0.3 s is start-up; without it the ratio is within the goal. The wall
time was not profiled; isobuilder syncs each blob to the disk, skopeo none, and its 8 threads
share two busy processors with the registry.""",
    "verify": """\
Two SHA-256 of each byte, of the image and of its files, run side by side, so the goal needs two
free processors; on busy ones the ratio is that of the CPU times. Start-up is 0.3 s of it, and
unpacking the CNI archive, which happens after the hashing, up to 0.1 s.""",
    "growth-files": """\
The writer alone is linear: 74 to 76 us a file at 10,000 and 20,000 files, 71 to 90 us at 2,500 and
5,000. What is taken off here is a fifth of a second of start-up, and what is left of the 2,500
files is as short, so a hundredth of a second of noise moves the ratio by half a point.""",
}
