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
 *   grow    the origin shows, and zeros past its end, or past where a shrink
 *           once cut the volume off
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
	uint64_t size;
	uint8_t *bytes; /* MAX_SIZE: behind the end what growing would show */
	const struct base *origin;
	uint64_t origin_end; /* it shows up to there */
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

/* Of the first byte that is not as it should be; UINT64_MAX where all are. */
uint64_t shadow_differs(const struct shadow *s, const uint8_t *bytes, uint64_t offset,
			uint64_t len);

bool shadow_is_zero(const struct shadow *s, uint64_t offset, uint64_t len);

#endif
