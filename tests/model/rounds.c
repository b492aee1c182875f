/* SPDX-License-Identifier: BSD-3-Clause */

#include "rounds.h"

/*
 * A pool against the model: operations on a dozen volumes, every answer
 * compared.
 *
 * Each round has a pool, block size, origins and policy of its own; pools
 * are small, so many run full.  After every commit the metadata is audited,
 * and an ordering monitor listens to all I/O (crash/monitor.h).  A round in
 * which threads run does without crashes, since nobody can say then what the
 * last commit holds.
 *
 * All that is chosen is chosen by below().
 */

#include "../unit/seeded.h"
#include "audit/audit.h"
#include "model.h"
#include "monitor.h"
#include "pool/pool.h"
#include "util/limits.h"

#include <stdarg.h>
#include <string.h>

#include "../unit/shelf.h"

/* Operations of a round whose blocks are large. */
#define LARGE_OPS	200
#define METADATA_BLOCKS 2048

/* Blocks of a volume: in most rounds; where blocks are large; by bytes. */
#define NR_BLOCKS	20
#define NR_BLOCKS_LARGE 4
#define NR_BLOCKS_BYTES 6

struct world {
	struct seeded rng;
	const uint8_t *at, *end; /* bytes to choose by, until @end; NULL: by rng */
	struct model m;
	struct shelf *metadata, *data, *origin_shelf[MODEL_ORIGINS];
	struct thin_origin *origin[MODEL_ORIGINS];
	struct recorder *rec; /* between the pool and its shelves */
	struct monitor *monitor;
	struct thin_pool_params params;
	struct thin_pool *pool;
	struct thin_volume *volume[MODEL_VOLUMES];
	bool started;
	uint32_t next_device;
	uint64_t commits; /* that the model knows of */
	uint8_t *payload, *buf;
	uint64_t max_bytes; /* of a volume */
	bool held;
};

struct rounds_run rounds_run;

__attribute__((noreturn, format(printf, 2, 3))) static void wrong(int line,
								  const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "\nround %" PRIu64 ", operation %" PRIu64 " (%s), line %d: ",
		rounds_run.round, rounds_run.op, rounds_run.what, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	if (rounds_run.program)
		fprintf(stderr,
			"again: THINBD_SEED=%" PRIu64 " THINBD_OPS=%" PRIu64 " %s\n",
			rounds_run.seed, rounds_run.ops, rounds_run.program);
	abort();
}

#define SHOULD(cond, ...)                                                                \
	do {                                                                             \
		if (!(cond))                                                             \
			wrong(__LINE__, __VA_ARGS__);                                    \
	} while (0)

#define SHOULD_BE(value, want)                                                           \
	do {                                                                             \
		long long value_ = (long long)(value), want_ = (long long)(want);        \
		if (value_ != want_)                                                     \
			wrong(__LINE__, "%s is %lld, not %lld", #value, value_, want_);  \
	} while (0)

/* As many bytes as @n needs; zeros when they are used up. */
static uint64_t next_bytes(struct world *w, uint64_t n)
{
	uint64_t v = 0;

	for (uint64_t room = 1; room < n && w->at < w->end; room <<= 8)
		v = v << 8 | *w->at++;
	return v;
}

static uint64_t below(struct world *w, uint64_t n)
{
	return w->at ? next_bytes(w, n) % n : seeded_below(&w->rng, n);
}

static bool chance(struct world *w, unsigned percent)
{
	return below(w, 100) < percent;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- the accounts ------------------------------------------------------------ */

static uint64_t commits_now(struct world *w)
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

static void audit(struct world *w)
{
	struct thin_audit_summary s;
	struct thin_error e;

	SHOULD_BE(thin_audit(w->metadata->memory, NULL, tell_finding, NULL, &s, &e), 0);
	SHOULD_BE(s.fatal + s.nonfatal, 0);
	if (!w->held)
		SHOULD_BE(s.data_used, w->m.used_committed);
}

static void check_devices(struct world *w)
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

/* The pool has committed what the model holds now. */
static void committed(struct world *w)
{
	model_commit(&w->m);
	w->commits = commits_now(w);
	if (!w->started)
		audit(w);
}

static bool has_committed(struct world *w)
{
	return commits_now(w) != w->commits;
}

static void check_used(struct world *w)
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

/* --- choosing ------------------------------------------------------------------ */

static int any_volume(struct world *w)
{
	int first = (int)below(w, MODEL_VOLUMES);

	for (int i = 0; i < MODEL_VOLUMES; i++) {
		int v = (first + i) % MODEL_VOLUMES;

		if (w->m.volume[v].exists)
			return v;
	}
	return MODEL_NONE;
}

static int any_slot(struct world *w)
{
	int first = (int)below(w, MODEL_VOLUMES);

	for (int i = 0; i < MODEL_VOLUMES; i++)
		if (!w->m.volume[(first + i) % MODEL_VOLUMES].exists)
			return (first + i) % MODEL_VOLUMES;
	return MODEL_NONE;
}

static uint64_t any_size(struct world *w)
{
	uint64_t size = 1 + below(w, w->max_bytes);

	switch (below(w, 4)) {
	case 0:
	case 1:
		size = (size / w->m.block_size + 1) * w->m.block_size;
		break;
	case 2:
		size = (size / 512 + 1) * 512;
		break;
	default:
		break;
	}
	return lesser(size, w->max_bytes);
}

struct range {
	uint64_t begin, end;
};

/* Some are in a block, some are whole blocks, some reach the end. */
static struct range any_range(struct world *w, int v)
{
	uint64_t size = w->m.volume[v].size, bs = w->m.block_size;
	uint64_t begin = below(w, size), len;

	switch (below(w, 8)) {
	case 0:
	case 1:
		len = 1 + below(w, bs - begin % bs);
		break;
	case 2:
	case 3:
		begin -= begin % bs;
		len = bs * (1 + below(w, 4));
		break;
	case 4:
		begin -= begin % 512;
		len = 512 * (1 + below(w, 2 * bs / 512));
		break;
	case 5:
		len = size - begin;
		break;
	case 6:
		len = 1 + below(w, 4 * bs);
		break;
	default:
		if (!below(w, 4))
			begin = 0;
		len = 1 + below(w, size - begin);
		break;
	}
	return (struct range){begin, begin + lesser(len, size - begin)};
}

/* --- volumes -------------------------------------------------------------------- */

static void open_volume(struct world *w, int v)
{
	const struct model_volume *vol = &w->m.volume[v];
	struct thin_volume_params p = {
		.device = vol->device,
		.size = vol->size,
		.origin = vol->origin == MODEL_NONE ? NULL : w->origin[vol->origin],
	};

	SHOULD_BE(thin_volume_open(w->pool, &p, &w->volume[v]), 0);
}

static void close_volume(struct world *w, int v)
{
	thin_volume_close(w->volume[v]);
	w->volume[v] = NULL;
}

static int any_origin(struct world *w)
{
	return chance(w, 40) ? MODEL_NONE : (int)below(w, MODEL_ORIGINS);
}

static void do_create(struct world *w)
{
	int v = any_slot(w);

	if (v == MODEL_NONE)
		return;
	SHOULD_BE(thin_pool_create_thin(w->pool, w->next_device), 0);
	SHOULD_BE(thin_pool_create_thin(w->pool, w->next_device), -EEXIST);
	model_create(&w->m, v, w->next_device++, any_size(w), any_origin(w));
	open_volume(w, v);
	committed(w);
}

/* Groups now and then; with a bad one among them nothing is to be made. */
static void do_snapshot(struct world *w)
{
	size_t nr = chance(w, 25) ? 1 + below(w, 3) : 1, n = 0;
	struct thin_snap_pair pairs[4];
	int slots[4], origins[4];
	bool bad = chance(w, 10);

	for (; n < nr; n++) {
		slots[n] = any_slot(w);
		origins[n] = any_volume(w);
		if (slots[n] == MODEL_NONE || origins[n] == MODEL_NONE)
			break;
		w->m.volume[slots[n]].exists = true; /* not again */
		pairs[n] = (struct thin_snap_pair){w->m.volume[origins[n]].device,
						   w->next_device++};
		if (!w->volume[origins[n]]) /* one of this group's */
			break;
	}
	for (size_t i = 0; i < n + (n < nr && n < 4); i++)
		if (slots[i] != MODEL_NONE && !w->volume[slots[i]])
			w->m.volume[slots[i]].exists = false;
	if (!n)
		return;
	if (bad) {
		pairs[n - 1].snap = w->m.volume[origins[0]].device;
		SHOULD_BE(thin_pool_snapshot(w->pool, pairs, n), -EEXIST);
		return;
	}
	SHOULD_BE(thin_pool_snapshot(w->pool, pairs, n), 0);
	for (size_t i = 0; i < n; i++) {
		model_snapshot(&w->m, origins[i], slots[i], pairs[i].snap);
		open_volume(w, slots[i]);
	}
	committed(w);
}

static void do_delete(struct world *w)
{
	int v = any_volume(w), other = any_volume(w);
	uint32_t devices[2];
	size_t nr = 1;

	if (v == MODEL_NONE)
		return;
	devices[0] = w->m.volume[v].device;
	SHOULD_BE(thin_pool_delete(w->pool, devices, 1), -EBUSY);
	close_volume(w, v);
	if (other != v && chance(w, 20)) {
		devices[nr++] = w->m.volume[other].device;
		SHOULD_BE(thin_pool_delete(w->pool, devices, 2), -EBUSY);
		close_volume(w, other);
	}
	SHOULD_BE(thin_pool_delete(w->pool, devices, nr), 0);
	model_delete(&w->m, v);
	if (nr == 2)
		model_delete(&w->m, other);
	SHOULD_BE(thin_pool_delete(w->pool, devices, 1), -ENOENT);
	committed(w);
}

static void do_resize(struct world *w)
{
	int v = any_volume(w);

	if (v == MODEL_NONE)
		return;
	close_volume(w, v);
	w->m.volume[v].size = any_size(w);
	open_volume(w, v);
}

/* --- I/O -------------------------------------------------------------------------- */

static void read_range(struct world *w, int v, uint64_t begin, uint64_t end)
{
	const uint8_t *want = w->m.volume[v].content + begin;
	uint8_t *buf = w->buf + 8;
	uint64_t len = end - begin;

	memset(buf - 8, 0xa5, 8);
	memset(buf, 0x5a, lesser(len, 64));
	memset(buf + len, 0xa5, 8);
	SHOULD_BE(thin_volume_read(w->volume[v], buf, begin, len), 0);
	for (uint64_t i = 0; memcmp(buf, want, len) && i < len; i++)
		SHOULD(buf[i] == want[i],
		       "device %u, byte %" PRIu64 " (block %" PRIu64 "+%" PRIu64
		       "): read %02x, should be %02x",
		       w->m.volume[v].device, begin + i, (begin + i) / w->m.block_size,
		       (begin + i) % w->m.block_size, buf[i], want[i]);
	for (int i = 0; i < 8; i++)
		SHOULD(buf[-1 - i] == 0xa5 && buf[len + (uint64_t)i] == 0xa5,
		       "read outside of the buffer");
}

static void do_read(struct world *w)
{
	int v = any_volume(w);
	struct range x;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	read_range(w, v, x.begin, x.end);
	SHOULD_BE(thin_volume_read(w->volume[v], w->buf, w->m.volume[v].size, 1),
		  -ERANGE);
}

static void check_content(struct world *w)
{
	for (int v = 0; v < MODEL_VOLUMES; v++)
		if (w->m.volume[v].exists)
			read_range(w, v, 0, w->m.volume[v].size);
}

static int issue(struct world *w, int v, const struct model_request *req, unsigned flags)
{
	struct thin_volume *vol = w->volume[v];
	uint64_t len = req->end - req->begin;

	switch (req->op) {
	case MODEL_WRITE:
		return thin_volume_write(vol, req->buf, req->begin, len, flags);
	case MODEL_ZERO:
		return thin_volume_zero(vol, req->begin, len, flags);
	default:
		return thin_volume_hydrate(vol, req->begin, len);
	}
}

/* A commit that a request makes for want of room is one of what was before. */
static void request(struct world *w, int v, struct model_request *req, unsigned flags)
{
	struct model_needs needs = model_needs(&w->m, v, req);
	uint64_t free_blocks = w->m.nr_data_blocks - w->m.used;
	bool fits = !needs.provision || needs.provision <= free_blocks;
	int r = issue(w, v, req, flags);

	if (flags & THIN_FAST_ONLY && (needs.provision || needs.in_place)) {
		SHOULD_BE(r, -ENOTSUP);
		return;
	}
	if (!w->held || r != -ENOSPC)
		SHOULD_BE(r, fits ? 0 : -ENOSPC);
	if (has_committed(w) && !(flags & THIN_FUA && !r))
		committed(w);
	if (!r)
		model_do(&w->m, v, req);
	if (has_committed(w))
		committed(w);
}

static void do_write(struct world *w)
{
	int v = any_volume(w);
	struct range x;
	struct model_request req;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	seeded_fill(&w->rng, w->payload, 16);
	req = (struct model_request){
		.op = MODEL_WRITE,
		.begin = x.begin,
		.end = x.end,
		.buf = w->payload + below(w, 4096),
	};
	memcpy(w->payload + (req.buf - w->payload) % 64, &rounds_run.op,
	       sizeof(rounds_run.op));
	request(w, v, &req, chance(w, 10) ? THIN_FUA : 0);
}

static void do_zero(struct world *w)
{
	int v = any_volume(w);
	unsigned flags = 0;
	struct range x;
	struct model_request req;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	flags |= chance(w, 50) ? THIN_MAY_UNMAP : 0;
	flags |= chance(w, 10) ? THIN_FUA : 0;
	flags |= chance(w, 20) ? THIN_FAST_ONLY : 0;
	req = (struct model_request){
		.op = MODEL_ZERO,
		.begin = x.begin,
		.end = x.end,
		.may_unmap = flags & THIN_MAY_UNMAP,
	};
	request(w, v, &req, flags);
}

static void do_hydrate(struct world *w)
{
	int v = any_volume(w);
	struct range x;
	struct model_request req;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	req = (struct model_request){.op = MODEL_HYDRATE, .begin = x.begin, .end = x.end};
	request(w, v, &req, 0);
}

/* Only what is durable may let the origin go: as flatten does. */
static void do_drop_origin(struct world *w)
{
	int v = any_volume(w);

	if (v == MODEL_NONE || w->m.volume[v].origin == MODEL_NONE)
		return;
	SHOULD_BE(thin_pool_commit(w->pool), 0);
	committed(w);
	thin_volume_drop_origin(w->volume[v]);
	model_drop_origin(&w->m, v);
}

static void do_trim(struct world *w)
{
	int v = any_volume(w);
	unsigned flags = chance(w, 10) ? THIN_FUA : 0;
	struct range x;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	SHOULD_BE(thin_volume_trim(w->volume[v], x.begin, x.end - x.begin, flags), 0);
	model_trim(&w->m, v, x.begin, x.end);
	if (has_committed(w))
		committed(w);
}

static void do_flush(struct world *w)
{
	int v = any_volume(w);

	if (v == MODEL_NONE)
		return;
	SHOULD_BE(thin_volume_flush(w->volume[v]), 0);
	if (has_committed(w))
		committed(w);
}

static void do_commit(struct world *w)
{
	SHOULD_BE(thin_pool_commit(w->pool), 0);
	committed(w);
	check_devices(w);
}

static void do_cache(struct world *w)
{
	int v = any_volume(w);
	struct range x;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	SHOULD_BE(thin_volume_cache(w->volume[v], x.begin, x.end - x.begin), 0);
}

/* --- what is told ------------------------------------------------------------------ */

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

static void do_map(struct world *w)
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

/* Of some, as a list does: what was asked before may be remembered. */
static void do_exclusive(struct world *w)
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

/* While something is held the blocks in use are not the volumes' alone. */
static void do_hold(struct world *w)
{
	if (w->held)
		SHOULD_BE(thin_pool_unhold(w->pool), 0);
	else
		SHOULD_BE(thin_pool_hold(w->pool), 0);
	w->held = !w->held;
	committed(w);
}

static void do_grow(struct world *w)
{
	uint64_t nr = w->m.nr_data_blocks + 1 + below(w, 8);

	if (w->m.used < w->m.nr_data_blocks || nr > 400)
		return;
	SHOULD_BE(thin_pool_grow(w->pool, (w->m.nr_data_blocks - 1) * w->m.block_size, 0),
		  -EINVAL);
	SHOULD_BE(thin_pool_grow(w->pool, nr * w->m.block_size, 0), 0);
	w->m.nr_data_blocks = nr;
	committed(w);
}

/* --- the pool ------------------------------------------------------------------------
 */

static void open_pool(struct world *w)
{
	struct thin_error e = {""};
	int r;

	w->params.metadata = rec_lend(w->rec, REC_METADATA, &w->metadata->lent);
	w->params.data = rec_lend(w->rec, REC_DATA, &w->data->lent);
	r = thin_pool_open(&w->params, &w->pool, &e);
	SHOULD(!r, "open: %d, %s", r, e.text);
	if (w->started)
		SHOULD_BE(thin_pool_start(w->pool), 0);
	for (int v = 0; v < MODEL_VOLUMES; v++)
		if (w->m.volume[v].exists)
			open_volume(w, v);
	w->commits = commits_now(w);
}

static int close_pool(struct world *w)
{
	for (int v = 0; v < MODEL_VOLUMES; v++)
		close_volume(w, v);
	return thin_pool_close(w->pool);
}

static void do_reopen(struct world *w)
{
	SHOULD_BE(close_pool(w), 0);
	model_commit(&w->m);
	audit(w);
	open_pool(w);
	check_devices(w);
	check_content(w);
}

static void do_crash(struct world *w)
{
	if (w->started)
		return;
	rec_kill(w->rec, 0);
	(void)close_pool(w); /* into the void */
	rec_revive(w->rec);
	model_crash(&w->m);
	audit(w);
	open_pool(w);
	check_devices(w);
	check_content(w);
}

static struct shelf *shelf_or_die(uint64_t bytes)
{
	struct shelf *sh = shelf_new(bytes);

	SHOULD(sh, "no memory");
	return sh;
}

/* Some of it zeros, so that there is something to tell apart. */
static void make_origin(struct world *w, int i, uint64_t size)
{
	uint8_t *bytes = calloc(1, size);

	SHOULD(bytes, "no memory");
	for (uint64_t at = 0; at < size; at += 4096)
		if (chance(w, 70))
			memcpy(bytes + at, w->payload + below(w, 4096),
			       lesser(4096, size - at));
	w->origin_shelf[i] = shelf_or_die(size);
	SHOULD_BE(thin_storage_write_at(w->origin_shelf[i]->memory, 0, bytes, size), 0);
	SHOULD_BE(thin_origin_open(&w->origin_shelf[i]->lent, "origin", NULL,
				   &w->origin[i], NULL),
		  0);
	w->m.origin[i] = (struct model_origin){bytes, size};
}

/* Less than a block, to the block, to the byte, and longer than any volume. */
static void make_origins(struct world *w)
{
	uint64_t bs = w->m.block_size;

	make_origin(w, 0, 1 + below(w, bs));
	make_origin(w, 1, bs * (1 + below(w, w->m.nr_blocks)));
	make_origin(w, 2, 1 + below(w, w->max_bytes));
	make_origin(w, 3, w->max_bytes + 1 + below(w, bs));
}

/* Data that is there before anybody wrote it must never be seen. */
static void make_pool(struct world *w, uint64_t nr_data_blocks)
{
	uint64_t bytes = nr_data_blocks * w->m.block_size;

	w->metadata = shelf_or_die(METADATA_BLOCKS * THIN_METADATA_BLOCK);
	w->data = shelf_or_die(bytes);
	SHOULD_BE(shelf_punch(&w->data->lent, 0, bytes), 0);
	SHOULD_BE(thin_metadata_format(w->metadata->memory,
				       (uint32_t)(w->m.block_size / THIN_SECTOR),
				       nr_data_blocks, NULL),
		  0);
	w->rec = rec_new(0);
	w->monitor = monitor_new(w->rec, w->started ? MONITOR_DISJOINT : MONITOR_STRICT);
}

static void choose_policy(struct world *w)
{
	w->params.metadata_cache = THIN_MIN_METADATA_CACHE;
	w->params.commit_interval_s = 1;
	w->params.discard = chance(w, 70)   ? THIN_DISCARD_PASSDOWN
			    : chance(w, 50) ? THIN_DISCARD_NOPASSDOWN
					    : THIN_DISCARD_IGNORE;
	w->m.ignore_discard = w->params.discard == THIN_DISCARD_IGNORE;
	w->started = !w->at && chance(w, 12);
}

static void choose_blocks(struct world *w, uint64_t *ret_size, uint64_t *ret_nr)
{
	static const uint64_t sizes[] = {4096, 4096, 12288, 65536, 65536, 131072};

	*ret_size = 4096;
	*ret_nr = NR_BLOCKS_BYTES;
	if (w->at)
		return;
	*ret_size = sizes[below(w, sizeof(sizes) / sizeof(sizes[0]))];
	*ret_nr = NR_BLOCKS;
	if (chance(w, 4)) { /* larger than a buffer */
		*ret_size = UINT64_C(2) << 20;
		*ret_nr = NR_BLOCKS_LARGE;
	}
}

static void begin_round(struct world *w)
{
	uint64_t bs, nr_blocks, nr_data_blocks;

	choose_blocks(w, &bs, &nr_blocks);
	nr_data_blocks = nr_blocks * (1 + below(w, 6));
	model_init(&w->m, bs, nr_blocks, nr_data_blocks);
	w->max_bytes = bs * nr_blocks;
	w->payload = malloc(w->max_bytes + 8192);
	w->buf = malloc(w->max_bytes + 16);
	SHOULD(w->payload && w->buf, "no memory");
	seeded_fill(&w->rng, w->payload, w->max_bytes + 8192);
	choose_policy(w);
	make_origins(w);
	make_pool(w, nr_data_blocks);
	open_pool(w);
}

/* In the end everything goes, and nothing is left. */
static void end_round(struct world *w)
{
	rounds_run.what = "the end of a round";
	check_content(w);
	if (w->held)
		do_hold(w);
	while (any_volume(w) != MODEL_NONE)
		do_delete(w);
	check_used(w);
	SHOULD_BE(close_pool(w), 0);
	model_commit(&w->m);
	SHOULD_BE(w->m.used, 0);
	audit(w);
	for (int i = 0; i < MODEL_ORIGINS; i++) {
		thin_origin_unref(w->origin[i]);
		shelf_free(w->origin_shelf[i]);
		free(w->m.origin[i].bytes);
	}
	SHOULD(!*monitor_verdict(w->monitor), "a crash could do harm");
	monitor_free(w->monitor);
	rec_free(w->rec);
	shelf_free(w->metadata);
	shelf_free(w->data);
	free(w->payload);
	free(w->buf);
	model_fini(&w->m);
}

static const struct {
	const char *name;
	void (*fn)(struct world *w);
	unsigned weight;
} operations[] = {
	{"write", do_write, 300},
	{"read", do_read, 250},
	{"zero", do_zero, 80},
	{"trim", do_trim, 80},
	{"flush", do_flush, 30},
	{"commit", do_commit, 20},
	{"map", do_map, 40},
	{"create", do_create, 20},
	{"snapshot", do_snapshot, 30},
	{"delete", do_delete, 20},
	{"resize", do_resize, 10},
	{"hydrate", do_hydrate, 10},
	{"drop origin", do_drop_origin, 3},
	{"exclusive", do_exclusive, 10},
	{"cache", do_cache, 5},
	{"hold", do_hold, 3},
	{"grow", do_grow, 10},
	{"reopen", do_reopen, 3},
	{"crash", do_crash, 4},
	{"check", check_content, 3},
};

#define NR_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static void do_any(struct world *w)
{
	unsigned total = 0, pick;
	size_t i = 0;

	for (size_t n = 0; n < NR_OPERATIONS; n++)
		total += operations[n].weight;
	pick = (unsigned)below(w, total);
	while (pick >= operations[i].weight)
		pick -= operations[i++].weight;
	rounds_run.what = operations[i].name;
	operations[i].fn(w);
	check_used(w);
}

void round_by_seed(uint64_t seed, uint64_t ops)
{
	struct world w = {.rng = {seed}};

	rounds_run.what = "the beginning of a round";
	begin_round(&w);
	if (w.m.block_size > THIN_METADATA_BLOCK * 64)
		ops = lesser(ops, LARGE_OPS);
	for (uint64_t i = 0; i < ops; i++, rounds_run.op++)
		do_any(&w);
	end_round(&w);
	rounds_run.round++;
}

void round_by_bytes(const uint8_t *bytes, size_t size)
{
	struct world w = {.at = bytes, .end = bytes + size};

	rounds_run.what = "the beginning of a round";
	begin_round(&w);
	for (; w.at < w.end; rounds_run.op++)
		do_any(&w);
	end_round(&w);
	rounds_run.round++;
}
