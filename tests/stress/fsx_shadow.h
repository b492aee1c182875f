/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FSX_SHADOW_H
#define THINBD_TESTS_FSX_SHADOW_H

/*
 * What volumes should read as: their bytes in memory, changed by the rules
 * that the manual gives.
 *
 *   write   the bytes
 *   zero    zeros, also over an origin
 *   trim    blocks that lie in the range as a whole read as the origin again;
 *           the last block of a volume is whole though it be short
 *   grow    the origin shows, and zeros past its end; in the rest of the block
 *           in which it ended these may be zeros where a shrink cut it, and
 *           the origin that was before a flatten
 */

#include <stdbool.h>
#include <stdint.h>

#define MAX_SIZE    (UINT64_C(13) << 20) /* bytes of a volume */
#define MAX_SHADOWS 8

/* Bytes that never change, shared by volumes; zeros past the end. */
struct base {
	uint64_t size;
	uint8_t *bytes; /* MAX_SIZE of them */
};

struct shadow {
	char name[40];
	char parent[40]; /* it was made as a snapshot of this one */
	bool readonly;
	bool shrunk; /* at some time */
	uint64_t size;
	uint8_t *bytes; /* MAX_SIZE */
	const struct base *origin;
	const struct base *flattened; /* the origin that it had */
};

/* Geometry that the rules need. */
struct rules {
	uint64_t block_size;
	bool ignore_trims;
};

void shadow_init(struct shadow *s, const char *name, uint64_t size,
		 const struct base *origin);
void shadow_fini(struct shadow *s);

/* A snapshot: the same bytes and origin. */
void shadow_copy(struct shadow *s, const struct shadow *of, const char *name);

/* Takes the content of @snapshot, keeping its own name. */
void shadow_roll_back(struct shadow *s, const struct shadow *snapshot);

void shadow_zero(struct shadow *s, uint64_t offset, uint64_t len);
void shadow_trim(struct shadow *s, const struct rules *r, uint64_t offset, uint64_t len);

/* The origin is gone; what is read stays as it is. */
void shadow_drop_origin(struct shadow *s);

/* To another size, smaller or larger. */
void shadow_resize(struct shadow *s, uint64_t size);

/*
 * After shadow_resize() made it larger: [@offset, @offset + @len), which is in
 * the block where it ended, was read as @bytes.  Where the rules leave it open
 * the shadow takes these.
 */
void shadow_adopt(struct shadow *s, const uint8_t *bytes, uint64_t offset, uint64_t len);

/* Of the first byte that is not as it should be; UINT64_MAX where all are. */
uint64_t shadow_differs(const struct shadow *s, const uint8_t *bytes, uint64_t offset,
			uint64_t len);

bool shadow_is_zero(const struct shadow *s, uint64_t offset, uint64_t len);

#endif
