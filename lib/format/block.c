/* SPDX-License-Identifier: BSD-3-Clause */
#include "format/block.h"

#include "util/crc32c.h"

#include <errno.h>

static const struct {
	uint32_t xor ;
	const char *name;
} kinds[THIN_BLOCK_KINDS] = {
	[THIN_SUPERBLOCK] = {160774, "superblock"},
	[THIN_NODE] = {121107, "btree node"},
	[THIN_BITMAP] = {240779, "space map bitmap"},
	[THIN_INDEX] = {160478, "space map index"},
};

const char *thin_block_kind_name(enum thin_block_kind kind)
{
	return kinds[kind].name;
}

static uint32_t checksum(enum thin_block_kind kind, const void *block)
{
	const uint8_t *bytes = block;

	return thin_crc32c(bytes + 4, THIN_METADATA_BLOCK - 4) ^ kinds[kind].xor ;
}

void thin_block_seal(enum thin_block_kind kind, void *block, uint64_t blocknr)
{
	struct thin_disk_header *h = block;

	h->blocknr = le64_of(blocknr);
	h->csum = le32_of(checksum(kind, block));
}

int thin_block_verify(enum thin_block_kind kind, const void *block, uint64_t blocknr)
{
	const struct thin_disk_header *h = block;

	if (le32_get(h->csum) != checksum(kind, block))
		return -EILSEQ;
	if (le64_get(h->blocknr) != blocknr)
		return -ENOTBLK;
	return 0;
}
