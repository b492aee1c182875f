/* SPDX-License-Identifier: BSD-3-Clause */
#include "format/space_map_layout.h"

#include <string.h>

/*
 * Eight bytes hold 32 entries.  An entry is free where both its bits are
 * clear; fold the two onto the even one and look for a zero there.
 */
#define EVEN_BITS UINT64_C(0x5555555555555555)

static uint64_t used_bits(const struct thin_disk_bitmap *b, uint32_t byte)
{
	uint64_t v;

	memcpy(&v, b->counts + byte, sizeof(v));
	v = le64toh(v);
	return (v | v >> 1) & EVEN_BITS;
}

uint32_t thin_bitmap_find_free(const struct thin_disk_bitmap *b, uint32_t begin,
			       uint32_t end)
{
	uint32_t i = begin;

	while (i < end) {
		if (i % 32 == 0 && end - i >= 32 && used_bits(b, i / 4) == EVEN_BITS) {
			i += 32;
			continue;
		}
		if (!thin_bitmap_get(b, i))
			return i;
		i++;
	}
	return end;
}

uint32_t thin_bitmap_count_free(const struct thin_disk_bitmap *b, uint32_t nr)
{
	uint32_t free = 0, i = 0;

	for (; nr - i >= 32; i += 32)
		free += 32 - (uint32_t)__builtin_popcountll(used_bits(b, i / 4));
	for (; i < nr; i++)
		free += !thin_bitmap_get(b, i);
	return free;
}
