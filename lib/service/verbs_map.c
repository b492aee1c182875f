/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * map and diff.  Both look at a part at a time and hand out what they found
 * in between, holding nothing: a reader who dawdles holds up nobody.
 */
#include "service/requests.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- map ----------------------------------------------------------------- */

#define PART 1024

struct extent {
	uint64_t offset, len;
	enum thinbd_extent type;
};

/* What was found and not handed out yet; its last one may still grow. */
struct map {
	struct thin_call *c;
	struct extent at[PART];
	size_t nr;
};

static int note_extent(void *ctx, uint64_t offset, uint64_t len, enum thinbd_extent type)
{
	struct map *m = ctx;
	struct extent *last = m->nr ? &m->at[m->nr - 1] : NULL;

	if (last && last->type == type && last->offset + last->len == offset) {
		last->len += len;
		return 0;
	}
	if (m->nr == PART)
		return 1; /* enough for now */
	m->at[m->nr++] = (struct extent){offset, len, type};
	return 0;
}

static int hand_out(struct map *m, size_t nr)
{
	static const char *const names[] = {
		[THINBD_EXTENT_DATA] = "data",
		[THINBD_EXTENT_SHARED] = "shared",
		[THINBD_EXTENT_ORIGIN] = "origin",
		[THINBD_EXTENT_ZERO] = "zero",
	};

	for (size_t i = 0; i < nr; i++) {
		char text[128];
		int len = snprintf(text, sizeof(text),
				   "{\"offset\":%" PRIu64 ",\"length\":%" PRIu64
				   ",\"type\":\"%s\"}",
				   m->at[i].offset, m->at[i].len, names[m->at[i].type]);
		int r = thin_items_add(m->c->items, text, (size_t)len);
		if (r)
			return r;
	}
	memmove(m->at, m->at + nr, (m->nr - nr) * sizeof(m->at[0]));
	m->nr -= nr;
	return 0;
}

static int map_all(struct map *m, struct thinbd_volume *v)
{
	uint64_t size = thinbd_volume_size(v);
	uint64_t next = 0;
	int r = 0;

	while (!r && next < size) {
		r = thinbd_extents(v, next, size - next, note_extent, m);
		if (r < 0 || !m->nr)
			break;
		next = m->at[m->nr - 1].offset + m->at[m->nr - 1].len;
		r = hand_out(m, m->nr - 1);
	}
	return r ? r : hand_out(m, m->nr);
}

int thin_do_map(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *name = thin_arg_text(c->args, "name");
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;
	_cleanup_free struct map *m = malloc(sizeof(*m));
	struct thinbd_error why;
	struct thinbd_volume *v;
	int r = m ? thin_find(c->t, name, &conf, e) : -ENOMEM;

	(void)ret;
	if (r)
		return r;
	m->c = c;
	m->nr = 0;
	r = thinbd_volume_open(c->t, name, true, &v, &why);
	if (r)
		return thin_error_set(e, r, "%s", why.text);
	r = map_all(m, v);
	if (r == -ESHUTDOWN && thin_handle_revoked(v))
		r = thin_error_set(e, -ENOENT, "%s: was deleted meanwhile", name);
	thinbd_volume_close(v);
	return r ? thin_error_default(e, r, "%s: %s", name, thin_strerror(r)) : 0;
}

/* --- diff ---------------------------------------------------------------- */

#define RUNS 256

/* The mappings of one of the two, some at a time. */
struct side {
	const struct thin_volume_conf *conf;
	uint64_t end; /* its blocks: what is mapped past that does not count */
	struct thin_run runs[RUNS];
	size_t nr, at;
};

struct diff {
	struct thin_call *c;
	struct side old, new;
	bool same_origin;
	uint64_t offset, len; /* the extent that is growing; len 0: none */
};

/* The run that has @vblock; what is past the volume's end is not mapped. */
static int run_at(struct thinbd *t, struct side *s, uint64_t vblock, uint64_t end,
		  struct thin_run *ret)
{
	uint64_t limit = thin_min(end, s->end);

	if (vblock >= s->end) {
		*ret = (struct thin_run){.vblock = vblock, .nr = end - vblock};
		return 0;
	}
	while (s->at < s->nr && s->runs[s->at].vblock + s->runs[s->at].nr <= vblock)
		s->at++;
	if (s->at == s->nr || s->runs[s->at].vblock > vblock) {
		int r = thin_pool_lookup(t->pool, s->conf->device, vblock, limit, s->runs,
					 RUNS, &s->nr);
		if (r)
			return r;
		s->at = 0;
	}
	struct thin_run run = s->runs[s->at];
	uint64_t skip = vblock - run.vblock;
	*ret = (struct thin_run){
		.vblock = vblock,
		.nr = thin_min(run.nr - skip, limit - vblock),
		.dblock = run.dblock + skip,
		.mapped = run.mapped,
	};
	return 0;
}

static int hand_out_diff(struct diff *d)
{
	char text[96];

	if (!d->len)
		return 0;
	int len = snprintf(text, sizeof(text),
			   "{\"offset\":%" PRIu64 ",\"length\":%" PRIu64 "}", d->offset,
			   d->len);
	d->len = 0;
	return thin_items_add(d->c->items, text, (size_t)len);
}

/* [@from, @to), in bytes, may differ. */
static int add_difference(struct diff *d, uint64_t from, uint64_t to)
{
	if (from >= to)
		return 0;
	if (d->len && d->offset + d->len == from) {
		d->len += to - from;
		return 0;
	}
	int r = hand_out_diff(d);
	d->offset = from;
	d->len = to - from;
	return r;
}

/* Where both have something to say: up to the old one's end. */
static int compare_inside(struct diff *d, const struct thin_run *a,
			  const struct thin_run *b, uint64_t from, uint64_t to)
{
	uint64_t of_old = thin_origin_shows(d->old.conf);
	uint64_t of_new = thin_origin_shows(d->new.conf);

	if (a->mapped && b->mapped && a->dblock == b->dblock)
		return 0;
	if (a->mapped || b->mapped)
		return add_difference(d, from, to);
	/* The same origin may show further in one of them. */
	if (d->same_origin)
		from = thin_max(from, thin_min(of_old, of_new));
	return add_difference(d, from, thin_min(to, thin_max(of_old, of_new)));
}

/* Past its end the old one reads as zeros. */
static int compare_outside(struct diff *d, const struct thin_run *b, uint64_t from,
			   uint64_t to)
{
	return add_difference(
		d, from, b->mapped ? to : thin_min(to, thin_origin_shows(d->new.conf)));
}

static int compare(struct diff *d, const struct thin_run *a, const struct thin_run *b,
		   uint64_t nr)
{
	uint64_t bs = d->c->t->block_size;
	uint64_t from = b->vblock * bs;
	uint64_t to = thin_min((b->vblock + nr) * bs, d->new.conf->size);
	uint64_t old_end = d->old.conf->size;
	int r = compare_inside(d, a, b, from, thin_min(to, old_end));

	return r ? r : compare_outside(d, b, thin_max(from, old_end), to);
}

static int diff_all(struct diff *d)
{
	uint64_t end = thin_div_up(d->new.conf->size, d->c->t->block_size);
	uint64_t next = 0;

	while (next < end) {
		struct thin_run a, b;
		int r = run_at(d->c->t, &d->old, next, end, &a);
		if (!r)
			r = run_at(d->c->t, &d->new, next, end, &b);
		if (r)
			return r;
		uint64_t nr = thin_min(a.nr, b.nr);
		r = compare(d, &a, &b, nr);
		if (r)
			return r;
		next += nr;
	}
	return hand_out_diff(d);
}

static int open_side(struct thin_call *c, const char *name, struct side *s,
		     struct thin_error *e)
{
	int r = thin_find(c->t, name, &s->conf, e);

	if (r)
		return r;
	s->nr = s->at = 0;
	s->end = thin_div_up(s->conf->size, c->t->block_size);
	return 0;
}

int thin_do_diff(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *new = thin_arg_text(c->args, "new");
	_cleanup_free struct diff *d = calloc(1, sizeof(*d));
	int r = d ? open_side(c, thin_arg_text(c->args, "old"), &d->old, e) : -ENOMEM;

	(void)ret;
	if (!r)
		r = open_side(c, new, &d->new, e);
	if (!r) {
		d->c = c;
		d->same_origin = thin_same_origin(d->old.conf, d->new.conf);
		r = diff_all(d);
	}
	if (d) {
		thin_volume_conf_put(d->old.conf);
		thin_volume_conf_put(d->new.conf);
	}
	return r ? thin_error_default(e, r, "%s: %s", new, thin_strerror(r)) : 0;
}
