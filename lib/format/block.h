/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_FORMAT_BLOCK_H
#define THINBD_FORMAT_BLOCK_H

/*
 * What all metadata blocks have in common: 4096 bytes that begin with a
 * checksum and say at offset 8 which block they are.
 *
 *   stored = raw CRC-32C of bytes 4..4095, XOR a constant of the kind
 *
 * There is no type field: the constant is what tells the kinds apart.
 */

#include "util/endian.h"
#include "util/errors.h"
#include "util/limits.h"

#include <stdint.h>

enum thin_block_kind {
	THIN_SUPERBLOCK,
	THIN_NODE,   /* of any btree */
	THIN_BITMAP, /* of either space map */
	THIN_INDEX,  /* the metadata space map's index block */
};

#define THIN_BLOCK_KINDS 4

struct thin_disk_header {
	struct le32 csum;
	struct le32 flags; /* a node's and the superblock's; otherwise unused */
	struct le64 blocknr;
} __attribute__((packed));

_Static_assert(sizeof(struct thin_disk_header) == 16, "on-disk size");

/* "superblock", "btree node", ... for messages. */
const char *thin_block_kind_name(enum thin_block_kind kind);

/*
 * Make @block (4096 bytes) ready to be written as block @blocknr: sets its
 * number and its checksum.
 */
void thin_block_seal(enum thin_block_kind kind, void *block, uint64_t blocknr);

/*
 * Is @block (4096 bytes, as read) a @kind, unharmed, and in its place?
 * Returns 0; -EILSEQ (checksum or kind); -ENOTBLK (another block's content).
 */
THIN_MUST_CHECK int thin_block_verify(enum thin_block_kind kind, const void *block,
				      uint64_t blocknr);

#endif
