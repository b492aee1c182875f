/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_LIMITS_H
#define THINBD_UTIL_LIMITS_H

/*
 * Every limit of the project, with its reason.  Each is tested on both
 * sides.
 */

#include <stdint.h>

/* A metadata block, and a sector: fixed by the format. */
#define THIN_METADATA_BLOCK UINT64_C(4096)
#define THIN_SECTOR	    UINT64_C(512)

/*
 * Data block sizes, in bytes.  The kernel activates multiples of 64 KiB up
 * to 1 GiB; the format's field counts sectors, so 4 KiB is fine for us.
 */
#define THIN_BLOCK_SIZE_MIN    UINT64_C(4096)
#define THIN_BLOCK_SIZE_KERNEL UINT64_C(65536)
#define THIN_BLOCK_SIZE_MAX    (UINT64_C(1) << 30)

/* A mapping holds 40 bits of block number and 24 bits of time. */
#define THIN_MAX_DATA_BLOCKS (UINT64_C(1) << 40)
#define THIN_MAX_TIME	     ((UINT32_C(1) << 24) - 1)

/* dm-thin's device ids have 24 bits. */
#define THIN_MAX_DEVICE_ID ((UINT32_C(1) << 24) - 1)

/* 255 index entries of 16320 blocks each: 15.875 GiB. */
#define THIN_MAX_METADATA_BLOCKS (UINT64_C(255) * 16320)

/* The smallest metadata that we make: room for the reserve and some use. */
#define THIN_MIN_METADATA_BLOCKS UINT64_C(64)

/*
 * Depth of a btree.  A node that is not the root has at least 84 children,
 * so 2^40 keys need seven levels; what is deeper is damage.
 */
#define THIN_MAX_TREE_DEPTH 16

/* Virtual size of a volume: NBD's offsets are 63 bits; leave headroom. */
#define THIN_MAX_VOLUME_SIZE (UINT64_C(1) << 56)

/* A name, or the part after '@': fits in a file name with its suffix. */
#define THIN_NAME_PART_MAX 63
#define THIN_NAME_MAX	   (2 * THIN_NAME_PART_MAX + 1)

/* Volumes in a pool: nbdkit's list of exports ends here. */
#define THIN_MAX_VOLUMES 10000

/* A description is shown on one line. */
#define THIN_DESCRIPTION_MAX 1024

/* An origin, as given and made absolute: PATH_MAX. */
#define THIN_ORIGIN_MAX 4096

/* Data blocks that one pass of trim, delete or zero frees under the lock. */
#define THIN_UNMAP_STEP 1024

/* NBD's portable maximum for one request, which we advertise. */
#define THIN_MAX_REQUEST (UINT64_C(32) << 20)

/* Extents in one reply. */
#define THIN_MAX_EXTENTS 1024

/* The least memory for metadata blocks: some paths through the trees. */
#define THIN_MIN_METADATA_CACHE (UINT64_C(1) << 20)
#define THIN_METADATA_CACHE	(UINT64_C(64) << 20)

/* One message on the control socket, and how long a peer may dawdle. */
#define THIN_MAX_MESSAGE	(UINT64_C(1) << 20)
#define THIN_MAX_CONTROL_PEERS	64
#define THIN_CONTROL_TIMEOUT_MS 5000

/*
 * Rings of io_uring for one storage, which is how many calls can use them
 * at once: more than threads of a busy server; the next does plain calls.
 */
#define THIN_MAX_RINGS 64

/*
 * NBD servers.  A lost one is waited for as long as its restart may take,
 * and no longer than the guests' disk timeouts (30 s in Linux) bear; one
 * attempt to connect ends after a third of that, the last one sooner, and
 * the pauses between attempts grow up to two seconds.
 */
#define THIN_NBD_RECONNECT_MS	30000
#define THIN_NBD_CONNECT_MS	10000
#define THIN_NBD_CONNECT_MIN_MS 1000
#define THIN_NBD_PAUSE_MIN_MS	50
#define THIN_NBD_PAUSE_MAX_MS	2000

/* Connections to one server: more bring nothing (nbdcopy's default too). */
#define THIN_NBD_CONNECTIONS 4

/*
 * Writes that a server has not flushed yet are kept to be repeated to its
 * successor; from here on a flush is made, so that memory is bounded.
 */
#define THIN_NBD_REPLAY_MAX (UINT64_C(32) << 20)

#endif
