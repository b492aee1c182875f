/* SPDX-License-Identifier: BSD-3-Clause */
#include "model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* --- cells ----------------------------------------------------------------- */

static void maybe_free(struct model_cell *c)
{
	if (c->refs || c->kept)
		return;
	free(c->bytes);
	free(c);
}

static void let_go(struct model *m, struct model_cell **slot)
{
	struct model_cell *c = *slot;

	*slot = NULL;
	if (!c)
		return;
	assert(c->refs);
	if (--c->refs == 0)
		m->used--;
	maybe_free(c);
}

static void take(struct model *m, struct model_cell **slot, struct model_cell *c)
{
	*slot = c;
	if (c && c->refs++ == 0)
		m->used++;
}

static struct model_cell *new_cell(const struct model *m)
{
	struct model_cell *c = must(calloc(1, sizeof(*c)));

	c->time = m->time;
	c->bytes = must(malloc(m->block_size));
	return c;
}

/* --- blocks ---------------------------------------------------------------- */

uint64_t model_origin_end(const struct model *m, int v)
{
	int origin = m->volume[v].origin;

	return origin == MODEL_NONE ? 0 : m->origin[origin].size;
}

bool model_shared(const struct model *m, int v, uint64_t block)
{
	const struct model_volume *vol = &m->volume[v];

	return vol->map[block] && vol->map[block]->time < vol->snapshotted;
}

static uint8_t *content(const struct model *m, int v, uint64_t block)
{
	return m->volume[v].content + block * m->block_size;
}

/* What a block shows that is not mapped. */
static void show_below(struct model *m, int v, uint64_t block)
{
	uint64_t begin = block * m->block_size, end = model_origin_end(m, v);
	uint64_t n = end > begin ? least(end - begin, m->block_size) : 0;

	memset(content(m, v, block), 0, m->block_size);
	if (n)
		memcpy(content(m, v, block), m->origin[m->volume[v].origin].bytes + begin,
		       n);
}

static void unmap(struct model *m, int v, uint64_t block)
{
	let_go(m, &m->volume[v].map[block]);
	show_below(m, v, block);
}

/* The block's content has changed: where does it go? */
static void store(struct model *m, int v, uint64_t block)
{
	struct model_cell **slot = &m->volume[v].map[block];

	if (!*slot || model_shared(m, v, block)) {
		let_go(m, slot);
		take(m, slot, new_cell(m));
	}
	memcpy((*slot)->bytes, content(m, v, block), m->block_size);
}

/* --- volumes --------------------------------------------------------------- */

void model_init(struct model *m, uint64_t block_size, uint64_t nr_blocks,
		uint64_t nr_data_blocks)
{
	*m = (struct model){
		.block_size = block_size,
		.nr_blocks = nr_blocks,
		.nr_data_blocks = nr_data_blocks,
	};
	for (int v = 0; v < MODEL_VOLUMES; v++) {
		m->volume[v].content = must(calloc(nr_blocks, block_size));
		m->volume[v].map = must(calloc(nr_blocks, sizeof(struct model_cell *)));
		m->volume[v].committed =
			must(calloc(nr_blocks, sizeof(struct model_cell *)));
	}
}

static void forget_committed(struct model *m, int v)
{
	for (uint64_t b = 0; b < m->nr_blocks; b++) {
		struct model_cell *c = m->volume[v].committed[b];

		m->volume[v].committed[b] = NULL;
		if (!c)
			continue;
		c->kept--;
		maybe_free(c);
	}
}

void model_fini(struct model *m)
{
	for (int v = 0; v < MODEL_VOLUMES; v++) {
		for (uint64_t b = 0; b < m->nr_blocks; b++)
			let_go(m, &m->volume[v].map[b]);
		forget_committed(m, v);
		free(m->volume[v].content);
		free(m->volume[v].map);
		free(m->volume[v].committed);
	}
}

void model_create(struct model *m, int v, uint32_t device, uint64_t size, int origin)
{
	struct model_volume *vol = &m->volume[v];

	assert(!vol->exists);
	vol->exists = true;
	vol->device = device;
	vol->size = size;
	vol->origin = origin;
	vol->snapshotted = m->time;
	for (uint64_t b = 0; b < m->nr_blocks; b++)
		show_below(m, v, b);
}

void model_snapshot(struct model *m, int v, int snap, uint32_t device)
{
	struct model_volume *from = &m->volume[v], *to = &m->volume[snap];

	assert(from->exists && !to->exists);
	to->exists = true;
	to->device = device;
	to->size = from->size;
	to->origin = from->origin;
	from->snapshotted = to->snapshotted = ++m->time;
	memcpy(to->content, from->content, m->nr_blocks * m->block_size);
	for (uint64_t b = 0; b < m->nr_blocks; b++)
		take(m, &to->map[b], from->map[b]);
}

void model_delete(struct model *m, int v)
{
	for (uint64_t b = 0; b < m->nr_blocks; b++)
		let_go(m, &m->volume[v].map[b]);
	m->volume[v].exists = false;
}

void model_drop_origin(struct model *m, int v)
{
	m->volume[v].origin = MODEL_NONE;
	for (uint64_t b = 0; b < m->nr_blocks; b++)
		if (!m->volume[v].map[b])
			show_below(m, v, b);
}

uint64_t model_mapped(const struct model *m, int v)
{
	uint64_t nr = 0;

	for (uint64_t b = 0; b < m->nr_blocks; b++)
		nr += m->volume[v].map[b] != NULL;
	return nr;
}

uint64_t model_exclusive(const struct model *m, int v)
{
	uint64_t nr = 0;

	for (uint64_t b = 0; b < m->nr_blocks; b++)
		nr += m->volume[v].map[b] && m->volume[v].map[b]->refs == 1;
	return nr;
}

/* --- requests -------------------------------------------------------------- */

enum fate {
	NOTHING,
	IN_PLACE,
	UNMAP,
	PROVISION
};

static enum fate fate_of_zero(const struct model *m, int v,
			      const struct model_request *req, uint64_t block)
{
	const struct model_volume *vol = &m->volume[v];
	uint64_t begin = block * m->block_size, end = begin + m->block_size;
	uint64_t origin_end = model_origin_end(m, v);
	bool mapped = vol->map[block], shared = model_shared(m, v, block);
	bool all = req->begin <= begin && req->end >= least(end, vol->size);

	if (!mapped)
		return most(begin, req->begin) >= origin_end ? NOTHING : PROVISION;
	if (all && begin >= origin_end &&
	    (shared || (req->may_unmap && !m->ignore_discard)))
		return UNMAP;
	return shared ? PROVISION : IN_PLACE;
}

static enum fate fate(const struct model *m, int v, const struct model_request *req,
		      uint64_t block)
{
	bool mapped = m->volume[v].map[block];

	if (req->op == MODEL_ZERO)
		return fate_of_zero(m, v, req, block);
	if (req->op == MODEL_HYDRATE)
		return !mapped && block * m->block_size < model_origin_end(m, v)
			       ? PROVISION
			       : NOTHING;
	return mapped && !model_shared(m, v, block) ? IN_PLACE : PROVISION;
}

static uint64_t first_block(const struct model *m, const struct model_request *req)
{
	return req->begin / m->block_size;
}

static uint64_t last_block(const struct model *m, const struct model_request *req)
{
	return (req->end + m->block_size - 1) / m->block_size;
}

struct model_needs model_needs(const struct model *m, int v,
			       const struct model_request *req)
{
	struct model_needs n = {0};

	for (uint64_t b = first_block(m, req); b < last_block(m, req); b++) {
		enum fate f = fate(m, v, req, b);

		n.provision += f == PROVISION;
		n.in_place += f == IN_PLACE;
		n.unmap += f == UNMAP;
	}
	return n;
}

static void change_content(struct model *m, int v, const struct model_request *req,
			   uint64_t block)
{
	uint64_t begin = most(req->begin, block * m->block_size);
	uint64_t end = least(req->end, (block + 1) * m->block_size);
	uint8_t *to = m->volume[v].content + begin;

	if (req->op == MODEL_WRITE)
		memcpy(to, req->buf + (begin - req->begin), end - begin);
	else if (req->op == MODEL_ZERO)
		memset(to, 0, end - begin);
}

void model_do(struct model *m, int v, const struct model_request *req)
{
	for (uint64_t b = first_block(m, req); b < last_block(m, req); b++) {
		enum fate f = fate(m, v, req, b);

		if (f == UNMAP)
			unmap(m, v, b);
		if (f != IN_PLACE && f != PROVISION)
			continue;
		change_content(m, v, req, b);
		store(m, v, b);
	}
}

void model_trim(struct model *m, int v, uint64_t begin, uint64_t end)
{
	const struct model_volume *vol = &m->volume[v];

	if (m->ignore_discard)
		return;
	for (uint64_t b = 0; b < m->nr_blocks; b++) {
		uint64_t from = b * m->block_size;

		if (begin <= from && from < end &&
		    end >= least(from + m->block_size, vol->size))
			unmap(m, v, b);
	}
}

/* --- commits --------------------------------------------------------------- */

void model_commit(struct model *m)
{
	/* What stays must not be freed in between. */
	for (int v = 0; v < MODEL_VOLUMES; v++)
		for (uint64_t b = 0; b < m->nr_blocks; b++)
			if (m->volume[v].map[b])
				m->volume[v].map[b]->kept++;
	for (int v = 0; v < MODEL_VOLUMES; v++) {
		struct model_volume *vol = &m->volume[v];

		forget_committed(m, v);
		for (uint64_t b = 0; b < m->nr_blocks; b++)
			vol->committed[b] = vol->map[b];
	}
	m->used_committed = m->used;
}

void model_crash(struct model *m)
{
	for (int v = 0; v < MODEL_VOLUMES; v++) {
		struct model_volume *vol = &m->volume[v];

		for (uint64_t b = 0; b < m->nr_blocks; b++) {
			struct model_cell *c = vol->committed[b];

			let_go(m, &vol->map[b]);
			take(m, &vol->map[b], c);
			if (c)
				memcpy(content(m, v, b), c->bytes, m->block_size);
			else if (vol->exists)
				show_below(m, v, b);
		}
	}
}
