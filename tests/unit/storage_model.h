/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_STORAGE_MODEL_H
#define THINBD_TESTS_STORAGE_MODEL_H

/*
 * Any storage against plain memory: the same random operations on both,
 * and the same bytes in both.
 */

#include "unit.h"
#include "seeded.h"

#include "storage/storage.h"
#include "util/checked.h"

#include <errno.h>

#define MODEL_SEGMENTS 100

struct model {
	struct thin_storage *s;
	struct seeded rnd;
	uint8_t *bytes, *other; /* what should be there; room to compare */
	uint64_t size;
	uint64_t align; /* of all offsets and lengths */
};

/* Segments in random order that do not overlap; some follow one another. */
static inline size_t model_segments(struct model *m, struct thin_segment *seg,
				    uint8_t *buffer)
{
	uint64_t at = seeded_below(&m->rnd, m->size), longest = m->size / 16;
	size_t nr = 0, want = 1 + seeded_below(&m->rnd, MODEL_SEGMENTS);

	at -= at % m->align;
	if (seeded_below(&m->rnd, 2))
		longest /= 16;
	while (nr < want && at < m->size) {
		uint64_t len = 1 + seeded_below(&m->rnd, longest);

		len = thin_min(thin_div_up(len, m->align) * m->align, m->size - at);
		seg[nr++] = (struct thin_segment){at, buffer + at, len};
		at += len;
		if (seeded_below(&m->rnd, 2))
			at += m->align * seeded_below(&m->rnd, longest / m->align + 1);
	}
	for (size_t i = nr; i > 1 && nr % 2; i--) {
		size_t j = seeded_below(&m->rnd, i);
		struct thin_segment swap = seg[j];

		seg[j] = seg[i - 1];
		seg[i - 1] = swap;
	}
	return nr;
}

static inline void model_write(struct model *m)
{
	struct thin_segment seg[MODEL_SEGMENTS];
	size_t nr = model_segments(m, seg, m->other);

	for (size_t i = 0; i < nr; i++) {
		seeded_fill(&m->rnd, seg[i].buf, seg[i].len);
		memcpy(m->bytes + seg[i].offset, seg[i].buf, seg[i].len);
	}
	assert_int_equal(thin_storage_write(m->s, seg, nr), 0);
}

static inline void model_read(struct model *m)
{
	struct thin_segment seg[MODEL_SEGMENTS];
	size_t nr;

	memset(m->other, 0xdd, m->size);
	nr = model_segments(m, seg, m->other);
	assert_int_equal(thin_storage_read(m->s, seg, nr), 0);
	for (size_t i = 0; i < nr; i++)
		if (memcmp(m->bytes + seg[i].offset, seg[i].buf, seg[i].len))
			fail_msg("differs in %" PRIu64 "+%zu", seg[i].offset, seg[i].len);
}

static inline void model_zero(struct model *m, uint64_t at, uint64_t len)
{
	assert_int_equal(thin_storage_zero(m->s, at, len), 0);
	memset(m->bytes + at, 0, len);
}

/* Either zeros or what was there, byte for byte: then that is the model. */
static inline void model_punch(struct model *m, uint64_t at, uint64_t len)
{
	int r = thin_storage_punch(m->s, at, len);

	if (r == -ENOTSUP)
		return;
	assert_int_equal(r, 0);
	if (!len)
		return;
	assert_int_equal(thin_storage_read_at(m->s, at, m->other, len), 0);
	for (uint64_t i = 0; i < len; i++) {
		assert_true(!m->other[i] || m->other[i] == m->bytes[at + i]);
		m->bytes[at + i] = m->other[i];
	}
}

struct model_extents {
	struct model *m;
	uint64_t next;
};

static inline int model_extent(void *ctx, uint64_t offset, uint64_t len,
			       enum thin_extent_type type)
{
	struct model_extents *x = ctx;

	assert_true(offset == x->next);
	assert_true(len > 0 && len <= x->m->size - offset);
	for (uint64_t i = 0; type == THIN_EXTENT_ZERO && i < len; i++)
		assert_int_equal(x->m->bytes[offset + i], 0);
	x->next += len;
	return 0;
}

static inline void model_extents(struct model *m, uint64_t at, uint64_t len)
{
	struct model_extents x = {m, at};

	assert_int_equal(thin_storage_extents(m->s, at, len, model_extent, &x), 0);
	assert_true(x.next == at + len);
}

static inline void model_step(struct model *m)
{
	uint64_t at = seeded_below(&m->rnd, m->size);
	uint64_t len = seeded_below(&m->rnd, (m->size - at) / 4 + 1);

	at -= at % m->align;
	len -= len % m->align;
	switch (seeded_below(&m->rnd, 8)) {
	case 0:
		model_zero(m, at, len);
		break;
	case 1:
		model_punch(m, at, len);
		break;
	case 2:
		model_extents(m, at, len);
		break;
	case 3:
		assert_int_equal(thin_storage_flush(m->s), 0);
		break;
	case 4:
	case 5:
		model_read(m);
		break;
	default:
		model_write(m);
	}
}

/* @steps operations on @s, which must read as zeros at first. */
static inline void model_run(struct thin_storage *s, struct seeded rnd, uint64_t align,
			     int steps)
{
	struct model m = {.s = s, .rnd = rnd, .align = align};

	assert_int_equal(thin_storage_size(s, &m.size), 0);
	m.bytes = calloc(1, m.size);
	m.other = aligned_alloc(4096, thin_div_up(m.size, 4096) * 4096);
	assert_true(m.bytes && m.other);
	for (int i = 0; i < steps; i++)
		model_step(&m);
	assert_int_equal(thin_storage_read_at(s, 0, m.other, m.size), 0);
	assert_memory_equal(m.bytes, m.other, m.size);
	free(m.bytes);
	free(m.other);
}

#endif
