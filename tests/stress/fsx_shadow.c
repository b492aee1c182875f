/* SPDX-License-Identifier: BSD-3-Clause */
#include "fsx_shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The origin's bytes, from @begin to @end. */
static void show_origin(struct shadow *s, uint64_t begin, uint64_t end)
{
	uint64_t to = s->origin && s->origin_end < end ? s->origin_end : end;

	if (begin >= end)
		return;
	memset(s->bytes + begin, 0, end - begin);
	if (s->origin && begin < to)
		memcpy(s->bytes + begin, s->origin->bytes + begin, to - begin);
}

void shadow_init(struct shadow *s, const char *name, uint64_t size,
		 const struct base *origin)
{
	*s = (struct shadow){.size = size, .origin = origin, .origin_end = MAX_SIZE};
	s->bytes = malloc(MAX_SIZE);
	if (!s->bytes)
		abort();
	snprintf(s->name, sizeof(s->name), "%s", name);
	show_origin(s, 0, MAX_SIZE);
}

void shadow_fini(struct shadow *s)
{
	free(s->bytes);
	*s = (struct shadow){0};
}

void shadow_copy(struct shadow *s, const struct shadow *of, const char *name)
{
	shadow_init(s, name, of->size, of->origin);
	memcpy(s->bytes, of->bytes, MAX_SIZE);
	snprintf(s->parent, sizeof(s->parent), "%s", of->name);
	s->origin_end = of->origin_end;
}

void shadow_roll_back(struct shadow *s, const struct shadow *snapshot)
{
	memcpy(s->bytes, snapshot->bytes, MAX_SIZE);
	s->size = snapshot->size;
	s->origin = snapshot->origin;
	s->origin_end = snapshot->origin_end;
}

void shadow_zero(struct shadow *s, uint64_t offset, uint64_t len)
{
	memset(s->bytes + offset, 0, len);
}

void shadow_trim(struct shadow *s, const struct rules *r, uint64_t offset, uint64_t len)
{
	uint64_t bs = r->block_size, end = offset + len;
	uint64_t first = (offset + bs - 1) / bs * bs;

	if (r->ignore_trims)
		return;
	if (end != s->size)
		end = end / bs * bs;
	show_origin(s, first, end);
}

void shadow_drop_origin(struct shadow *s)
{
	s->origin = NULL;
	s->origin_end = MAX_SIZE;
	show_origin(s, s->size, MAX_SIZE);
}

/* Past the end there is what growing should show. */
void shadow_resize(struct shadow *s, uint64_t size)
{
	if (size < s->size && size < s->origin_end)
		s->origin_end = size;
	s->size = size;
	show_origin(s, size, MAX_SIZE);
}

uint64_t shadow_differs(const struct shadow *s, const uint8_t *bytes, uint64_t offset,
			uint64_t len)
{
	if (!memcmp(s->bytes + offset, bytes, len))
		return UINT64_MAX;
	for (uint64_t i = 0;; i++)
		if (s->bytes[offset + i] != bytes[i])
			return offset + i;
}

bool shadow_is_zero(const struct shadow *s, uint64_t offset, uint64_t len)
{
	const uint8_t *p = s->bytes + offset;

	return !len || (!*p && !memcmp(p, p + 1, len - 1));
}
