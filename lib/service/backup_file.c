/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/backup_file.h"

#include "format/space_map_layout.h"
#include "format/superblock.h"
#include "util/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* Fast, and a third of the size: keys and blocks ascend. */
#define LEVEL 3

#define CHUNK (UINT64_C(256) << 10)

/* --- copying ---------------------------------------------------------------- */

static int read_block(struct thin_storage *s, enum thin_block_kind kind, uint64_t block,
		      void *buf)
{
	int r = thin_storage_read_at(s, block * THIN_METADATA_BLOCK, buf,
				     THIN_METADATA_BLOCK);

	return r || !block ? r : thin_block_verify(kind, buf, block);
}

static int copy_block(struct thin_storage *from, uint64_t block, struct thin_storage *to)
{
	uint8_t buf[THIN_METADATA_BLOCK];
	int r = thin_storage_read_at(from, block * sizeof(buf), buf, sizeof(buf));

	return r ? r : thin_storage_write_at(to, block * sizeof(buf), buf, sizeof(buf));
}

/* What bitmap @i of a map of @nr blocks says is in use. */
static int copy_bitmap(struct thin_storage *from, uint64_t nr, uint64_t i,
		       uint64_t bitmap, struct thin_storage *to)
{
	_Alignas(8) struct thin_disk_bitmap b;
	int r = read_block(from, THIN_BITMAP, bitmap, &b);

	for (uint32_t k = 0; !r && k < thin_bitmap_entries(nr, i); k++) {
		uint64_t block = i * THIN_COUNTS_PER_BITMAP + k;

		if (block && thin_bitmap_get(&b, k))
			r = copy_block(from, block, to);
	}
	return r;
}

int thin_backup_copy(struct thin_storage *from, const void *superblock,
		     struct thin_storage *to)
{
	const struct thin_disk_superblock *sb = superblock;
	uint64_t nr = le64_get(sb->metadata_space_map.nr_blocks);
	_Alignas(8) struct thin_disk_index index;
	int r = thin_storage_resize(to, nr * THIN_METADATA_BLOCK);

	if (!r)
		r = read_block(from, THIN_INDEX,
			       le64_get(sb->metadata_space_map.bitmap_root), &index);
	for (uint64_t i = 0; !r && i < thin_nr_bitmaps(nr); i++)
		r = copy_bitmap(from, nr, i, le64_get(index.entries[i].blocknr), to);
	return r ? r : thin_storage_write_at(to, 0, superblock, THIN_METADATA_BLOCK);
}

/* --- packing ------------------------------------------------------------------ */

static int append(struct thin_storage *to, uint64_t *end, const void *data, size_t len)
{
	int r = thin_storage_resize(to, *end + len);

	if (!r && len)
		r = thin_storage_write_at(to, *end, data, len);
	*end += len;
	return r;
}

/* All of @in; at the end of the stream until nothing is left inside. */
static int pack_part(ZSTD_CCtx *z, const void *data, size_t len, bool last, void *room,
		     struct thin_storage *to, uint64_t *end)
{
	ZSTD_inBuffer in = {data, len, 0};

	for (;;) {
		ZSTD_outBuffer out = {room, CHUNK, 0};
		size_t left = ZSTD_compressStream2(z, &out, &in,
						   last ? ZSTD_e_end : ZSTD_e_continue);
		int r = ZSTD_isError(left) ? -ENOMEM : append(to, end, room, out.pos);

		if (r || (last ? !left : in.pos == in.size))
			return r;
	}
}

static int pack(ZSTD_CCtx *z, struct thin_storage *image, struct thin_storage *to,
		uint8_t *room)
{
	uint64_t bytes, end = 0;
	int r = thin_storage_size(image, &bytes);

	for (uint64_t at = 0; at < bytes && !r; at += CHUNK) {
		size_t len = (size_t)thin_min(CHUNK, bytes - at);

		r = thin_storage_read_at(image, at, room, len);
		if (!r)
			r = pack_part(z, room, len, at + len == bytes, room + CHUNK, to,
				      &end);
	}
	return r ? r : thin_storage_flush(to);
}

int thin_backup_pack(struct thin_storage *image, struct thin_storage *to)
{
	_cleanup_free uint8_t *room = malloc(2 * CHUNK);
	ZSTD_CCtx *z = ZSTD_createCCtx();
	int r = -ENOMEM;

	if (room && z &&
	    !ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL)) &&
	    !ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1)))
		r = pack(z, image, to, room);
	(void)ZSTD_freeCCtx(z);
	return r;
}

/* --- unpacking ------------------------------------------------------------------ */

struct unpack {
	ZSTD_DCtx *z;
	struct thin_storage *to, *like;
	uint64_t end;
	uint8_t *in, *out, *other;
	bool whole; /* the stream is at its end */
};

/* Zeros stay holes. */
static int put(struct unpack *u, size_t len)
{
	int r;

	if (u->end + len > THIN_MAX_METADATA_BLOCKS * THIN_METADATA_BLOCK)
		return -EILSEQ;
	if (!u->to) {
		r = thin_storage_read_at(u->like, u->end, u->other, len);
		if (!r && memcmp(u->other, u->out, len))
			r = -EILSEQ;
	} else {
		memset(u->other, 0, len);
		r = thin_storage_resize(u->to, u->end + len);
		if (!r && memcmp(u->other, u->out, len))
			r = thin_storage_write_at(u->to, u->end, u->out, len);
	}
	u->end += len;
	return r;
}

static int unpack_part(struct unpack *u, size_t len)
{
	ZSTD_inBuffer in = {u->in, len, 0};
	size_t got;
	int r = 0;

	do {
		ZSTD_outBuffer out = {u->out, CHUNK, 0};
		size_t left = ZSTD_decompressStream(u->z, &out, &in);

		if (ZSTD_isError(left))
			return -EILSEQ;
		u->whole = !left;
		got = out.pos;
		if (got)
			r = put(u, got);
	} while (!r && (in.pos < in.size || (got == CHUNK && !u->whole)));
	return r;
}

static int unpack(struct unpack *u, struct thin_storage *from)
{
	uint64_t bytes, like = 0;
	int r = thin_storage_size(from, &bytes);

	for (uint64_t at = 0; at < bytes && !r; at += CHUNK) {
		size_t len = (size_t)thin_min(CHUNK, bytes - at);

		r = thin_storage_read_at(from, at, u->in, len);
		if (!r)
			r = unpack_part(u, len);
	}
	if (!r && u->like)
		r = thin_storage_size(u->like, &like);
	return r || (u->whole && (!u->like || like == u->end)) ? r : -EILSEQ;
}

int thin_backup_unpack(struct thin_storage *from, struct thin_storage *to,
		       struct thin_storage *like)
{
	_cleanup_free uint8_t *room = malloc(3 * CHUNK);
	struct unpack u = {.z = ZSTD_createDCtx(), .to = to, .like = to ? NULL : like};
	int r = -ENOMEM;

	if (room && u.z) {
		u.in = room;
		u.out = room + CHUNK;
		u.other = room + 2 * CHUNK;
		r = unpack(&u, from);
	}
	(void)ZSTD_freeDCtx(u.z);
	return r;
}
