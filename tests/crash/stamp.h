/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_STAMP_H
#define THINBD_TESTS_STAMP_H

/*
 * What tests write: each sector says which request wrote it and where it
 * belongs, and all of its 512 bytes follow from that.  So what is read back
 * is one number, and a sector that is torn, misplaced, somebody else's or
 * garbage has none.
 */

#include "util/limits.h"

#include <stdint.h>
#include <string.h>

#define STAMP_ZERO   UINT32_C(0)  /* all zeros */
#define STAMP_ORIGIN UINT32_C(1)  /* what external origins hold */
#define STAMP_CANARY UINT32_C(2)  /* what lay on the disk before the pool */
#define STAMP_FIRST  UINT32_C(16) /* of requests */
#define STAMP_ALIEN  UINT32_MAX	  /* none at all */

#define STAMP_WORDS (THIN_SECTOR / sizeof(uint64_t))

static inline uint64_t stamp_mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Fill the sector at @p, which belongs to sector @where of its volume. */
static inline void stamp_fill(void *p, uint32_t value, uint64_t where)
{
	uint64_t words[STAMP_WORDS] = {0};

	if (value != STAMP_ZERO)
		words[0] = (uint64_t)value << 32 | (where & UINT32_MAX);
	for (unsigned i = 1; i < STAMP_WORDS && value != STAMP_ZERO; i++)
		words[i] = stamp_mix(words[0] + i * UINT64_C(0x9e3779b97f4a7c15));
	memcpy(p, words, sizeof(words));
}

/* Whose sector is at @p?  STAMP_ALIEN: nobody's, or not one of @where. */
static inline uint32_t stamp_read(const void *p, uint64_t where)
{
	uint8_t expected[THIN_SECTOR];
	uint64_t first;
	uint32_t value;

	memcpy(&first, p, sizeof(first));
	value = (uint32_t)(first >> 32);
	stamp_fill(expected, value, where);
	return memcmp(p, expected, THIN_SECTOR) ? STAMP_ALIEN : value;
}

#endif
