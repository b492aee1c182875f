/* SPDX-License-Identifier: BSD-3-Clause */

#include "told.h"

/*
 * What the pool tells of itself, and an auditor of its metadata, beside what
 * the model says.
 *
 * The model learns of a commit by the pool's count of them: some are asked
 * for, others come with a request or by themselves.
 */

#include "../unit/shelf.h"
#include "audit/audit.h"
#include "choose.h"
#include "monitor.h"
#include "should.h"

#include <stdio.h>
#include <string.h>

uint64_t commits_now(struct world *w)
{
	struct thin_pool_status s;

	thin_pool_status(w->pool, &s);
	return s.metadata.commits;
}

static int tell_finding(void *ctx, const struct thin_finding *f)
{
	char text[THIN_FINDING_TEXT];

	(void)ctx;
	thin_finding_format(f, NULL, NULL, text, sizeof(text));
	if (f->severity != THIN_AUDIT_NOTE)
		fprintf(stderr, "audit: %s\n", text);
	return 0;
}

void check_metadata(struct world *w)
{
	struct thin_audit_summary s;
	struct thin_error e;

	SHOULD_BE(thin_audit(w->metadata->memory, NULL, tell_finding, NULL, &s, &e), 0);
	SHOULD_BE(s.fatal + s.nonfatal, 0);
	if (!w->held)
		SHOULD_BE(s.data_used, w->m.used_committed);
}

void check_devices(struct world *w)
{
	for (int v = 0; v < MODEL_VOLUMES; v++) {
		struct thin_device_info info;

		if (!w->m.volume[v].exists)
			continue;
		SHOULD_BE(thin_pool_next_device(w->pool, w->m.volume[v].device, &info),
			  0);
		SHOULD_BE(info.id, w->m.volume[v].device);
		SHOULD_BE(info.mapped_blocks, model_mapped(&w->m, v));
	}
}

void committed(struct world *w)
{
	model_commit(&w->m);
	w->commits = commits_now(w);
	if (!w->started)
		check_metadata(w);
}

bool has_committed(struct world *w)
{
	return commits_now(w) != w->commits;
}

void check_used(struct world *w)
{
	struct thin_pool_status s;

	SHOULD(!*monitor_verdict(w->monitor), "a crash could do harm");
	thin_pool_status(w->pool, &s);
	if (!w->held)
		SHOULD_BE(s.metadata.data_allocated, w->m.used);
	SHOULD_BE(s.metadata.failed, 0);
	SHOULD(s.mode <= THIN_MODE_OUT_OF_DATA, "the mode is %s",
	       thin_pool_mode_name(s.mode));
}

struct told {
	struct world *w;
	int v;
	uint64_t next;
	enum thin_map_type last;
	bool any;
};

static bool is_zero(const uint8_t *p, uint64_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static void check_extent(struct told *t, uint64_t begin, uint64_t end,
			 enum thin_map_type type)
{
	const struct model *m = &t->w->m;

	for (uint64_t at = begin, next; at < end; at = next) {
		uint64_t b = at / m->block_size;
		bool mapped = m->volume[t->v].map[b];

		next = lesser((b + 1) * m->block_size, end);
		if (mapped)
			SHOULD_BE(type, model_shared(m, t->v, b) ? THIN_MAP_SHARED
								 : THIN_MAP_DATA);
		else if (type == THIN_MAP_ZERO)
			SHOULD(is_zero(m->volume[t->v].content + at, next - at),
			       "called zero, but is not");
		else
			SHOULD(type == THIN_MAP_ORIGIN &&
				       next <= model_origin_end(m, t->v),
			       "called %d, but is the origin's", type);
	}
}

static int tell_extent(void *ctx, uint64_t offset, uint64_t len, enum thin_map_type type)
{
	struct told *t = ctx;

	SHOULD_BE(offset, t->next);
	SHOULD(len > 0, "an empty extent");
	SHOULD(!t->any || type != t->last, "neighbours of one type");
	check_extent(t, offset, offset + len, type);
	t->next = offset + len;
	t->last = type;
	t->any = true;
	return 0;
}

void do_map(struct world *w)
{
	int v = any_volume(w);
	struct told t = {.w = w, .v = v};
	struct range x;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	t.next = x.begin;
	SHOULD_BE(
		thin_volume_map(w->volume[v], x.begin, x.end - x.begin, tell_extent, &t),
		0);
	SHOULD_BE(t.next, x.end);
}

void do_exclusive(struct world *w)
{
	int v = any_volume(w);

	for (; v != MODEL_NONE && v < MODEL_VOLUMES; v++) {
		struct thin_device_info info;
		uint64_t nr;

		if (!w->volume[v])
			continue;
		SHOULD_BE(thin_pool_usage(w->pool, w->m.volume[v].device, &info, &nr), 0);
		SHOULD_BE(info.mapped_blocks, model_mapped(&w->m, v));
		if (!w->held)
			SHOULD_BE(nr, model_exclusive(&w->m, v));
	}
}
