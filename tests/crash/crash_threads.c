/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A pool that is started, with its own threads and four clients', on storages
 * that take their time.  Each client has a part of each volume to itself and
 * writes there, one request after the other; another thread makes and
 * deletes snapshots meanwhile, and grows the pool.
 *
 * What happened is in the recorder's log; everything is judged afterwards:
 * the crash images as ever, and of each snapshot that is left whether it is
 * a cut: of each client's requests the first so many, each of them whole (I8).
 */

#define CLIENTS 4
#define VOLUMES 2
/* Sectors of a client: ends inside a block, so that neighbours meet there. */
#define PART	     UINT64_C(29)
#define FIRST_SNAP   9
#define REQUESTS     120
#define CONTROLS     40
#define HANG_TIMEOUT 40 /* seconds */
#define ROUNDS	     4
#define ROUNDS_LONG  400

struct request {
	char kind;
	uint32_t volume, value;
	uint64_t first, nr;
};

struct client {
	struct round *round;
	unsigned number;
	struct seeded rnd;
	pthread_t thread;
	size_t nr;
	struct request done[REQUESTS];
	char failure[160];
};

struct slow {
	struct thin_storage base;
	struct thin_storage *under;
	atomic_uint_fast64_t dice;
};

struct round {
	struct session *s;
	struct base base;
	struct thin_storage *memory[REC_FILES];
	struct slow slow[REC_FILES];
	struct recorder *rec;
	struct monitor *mon;
	struct thin_pool *pool;
	struct thin_volume *volume[VOLUMES];
	struct client client[CLIENTS];
	struct client control;
	uint32_t source[MODEL_VOLUMES]; /* of each snapshot */
	atomic_uint next_request;
	char failure[512];
};

/* --- storages that take their time ------------------------------------------------ */

static struct slow *to_slow(struct thin_storage *s)
{
	return (struct slow *)s;
}

/* Mostly not at all; otherwise long enough for others to come in between. */
static struct thin_storage *dawdle(struct thin_storage *s)
{
	uint64_t dice = stamp_mix(atomic_fetch_add(&to_slow(s)->dice, 1)) % 16;

	if (dice < 2)
		usleep((useconds_t)(dice + 1) * 60);
	else if (dice < 8)
		sched_yield();
	return to_slow(s)->under;
}

static int slow_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	return thin_storage_read(dawdle(s), seg, nr);
}

static int slow_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	int r = thin_storage_write(dawdle(s), seg, nr);

	(void)dawdle(s);
	return r;
}

static int slow_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	return thin_storage_zero(dawdle(s), offset, len);
}

/* Slowest of all: nobody waits for it, so everybody must leave it alone. */
static int slow_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	int r = thin_storage_punch(dawdle(s), offset, len);

	usleep(1000);
	return r;
}

static int slow_flush(struct thin_storage *s)
{
	int r = thin_storage_flush(dawdle(s));

	(void)dawdle(s);
	return r;
}

static int slow_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	return thin_storage_size(to_slow(s)->under, ret_bytes);
}

static int slow_resize(struct thin_storage *s, uint64_t bytes)
{
	return thin_storage_resize(dawdle(s), bytes);
}

static void slow_close(struct thin_storage *s)
{
	(void)s;
}

static const struct thin_storage_ops slow_ops = {
	.name = "slow",
	.read = slow_read,
	.write = slow_write,
	.zero = slow_zero,
	.punch = slow_punch,
	.flush = slow_flush,
	.size = slow_size,
	.resize = slow_resize,
	.close = slow_close,
};

/* --- clients -------------------------------------------------------------------------
 */

/* Whole blocks; a part has three of them at least. */
static void align(struct client *c, struct request *q)
{
	uint64_t begin = thin_div_up(c->number * PART, WORLD_BLOCK);
	uint64_t end = (c->number + 1) * PART / WORLD_BLOCK;
	uint64_t block = begin + seeded_below(&c->rnd, end - begin);

	q->first = block * WORLD_BLOCK;
	q->nr = (1 + seeded_below(&c->rnd, end - block)) * WORLD_BLOCK;
}

/* Little, and in the block that a neighbour has a part of. */
static void go_to_border(struct client *c, struct request *q)
{
	q->nr = 1 + seeded_below(&c->rnd, 3);
	q->first = seeded_below(&c->rnd, 2) ? 0 : PART - q->nr;
}

static struct request choose(struct client *c)
{
	static const char kinds[] = "wwwwwwwwWWtTzZZff";
	struct request q = {
		.kind = kinds[seeded_below(&c->rnd, sizeof(kinds) - 1)],
		.volume = (uint32_t)seeded_below(&c->rnd, VOLUMES),
		.first = seeded_below(&c->rnd, PART),
	};

	q.nr = 1 + seeded_below(&c->rnd, PART - q.first);
	if (seeded_below(&c->rnd, 2))
		go_to_border(c, &q);
	q.first += c->number * PART;
	if (strchr("tT", q.kind) || seeded_below(&c->rnd, 3) == 0)
		align(c, &q);
	return q;
}

static int write_stamps(struct thin_volume *v, const struct request *q)
{
	uint8_t buf[PART * THIN_SECTOR];

	for (uint64_t s = 0; s < q->nr; s++)
		stamp_fill(buf + s * THIN_SECTOR, q->value, q->first + s);
	return thin_volume_write(v, buf, q->first * THIN_SECTOR, q->nr * THIN_SECTOR,
				 q->kind == 'W' ? THIN_FUA : 0);
}

static int call(struct thin_volume *v, const struct request *q)
{
	uint64_t offset = q->first * THIN_SECTOR, len = q->nr * THIN_SECTOR;

	switch (q->kind) {
	case 'w':
	case 'W':
		return write_stamps(v, q);
	case 't':
	case 'T':
		return thin_volume_trim(v, offset, len, q->kind == 'T' ? THIN_FUA : 0);
	case 'f':
		return thin_volume_flush(v);
	default:
		return thin_volume_zero(v, offset, len,
					q->kind == 'Z' ? THIN_MAY_UNMAP : 0);
	}
}

/* What it has just written is there, whatever others do. */
static int read_back(struct client *c, struct thin_volume *v, const struct request *q)
{
	uint32_t expected = q->value == MODEL_BELOW ? STAMP_ZERO : q->value;
	uint8_t buf[PART * THIN_SECTOR];
	int r = thin_volume_read(v, buf, q->first * THIN_SECTOR, q->nr * THIN_SECTOR);

	for (uint64_t s = 0; s < q->nr && !r; s++)
		if (stamp_read(buf + s * THIN_SECTOR, q->first + s) != expected)
			r = -EILSEQ;
	if (r)
		snprintf(c->failure, sizeof(c->failure),
			 "client %u read something else than it had written (%s)",
			 c->number, thin_strerror(r));
	return r;
}

static int do_request(struct client *c)
{
	struct round *round = c->round;
	struct request q = choose(c);
	struct rec_mark m = {
		.request = atomic_fetch_add(&round->next_request, 1),
		.volume = q.volume,
		.first = q.first,
		.nr = q.nr,
	};
	struct rec_owner owner = {.known = true,
				  .device = q.volume,
				  .begin = q.first * THIN_SECTOR,
				  .end = (q.first + q.nr) * THIN_SECTOR};

	m.kind = q.kind == 'f' ? MARK_FLUSH : MARK_UPDATE;
	q.value = strchr("wW", q.kind)	 ? STAMP_FIRST + m.request
		  : strchr("tT", q.kind) ? MODEL_BELOW
					 : STAMP_ZERO;
	m.value = q.value;
	rec_mark(round->rec, &m);
	rec_own(&owner);
	m.result = call(round->volume[q.volume], &q);
	rec_own(NULL);
	m.kind = q.kind == 'f'		? MARK_FLUSHED
		 : strchr("WT", q.kind) ? MARK_FUA
					: MARK_UPDATED;
	rec_mark(round->rec, &m);
	if (m.result) {
		snprintf(c->failure, sizeof(c->failure), "client %u: '%c': %s", c->number,
			 q.kind, thin_strerror(m.result));
		return m.result;
	}
	if (q.kind == 'f')
		return 0;
	c->done[c->nr++] = q;
	return read_back(c, round->volume[q.volume], &q);
}

static void *be_client(void *arg)
{
	struct client *c = arg;

	for (unsigned i = 0; i < REQUESTS; i++)
		if (do_request(c))
			break;
	return NULL;
}

/* --- control
 * ------------------------------------------------------------------------------ */

static int snapshot(struct client *c, uint32_t origin, uint32_t snap)
{
	struct rec_mark m = {.kind = MARK_SNAP, .volume = snap, .other = origin};
	struct thin_snap_pair pair = {.origin = origin, .snap = snap};

	rec_mark(c->round->rec, &m);
	c->round->source[snap] = origin;
	m.kind = MARK_SNAPPED;
	m.result = thin_pool_snapshot(c->round->pool, &pair, 1);
	rec_mark(c->round->rec, &m);
	return m.result;
}

static int delete_snap(struct client *c, uint32_t snap)
{
	struct rec_mark m = {.kind = MARK_DELETE, .volume = snap};

	rec_mark(c->round->rec, &m);
	m.kind = MARK_DELETED;
	m.result = thin_pool_delete(c->round->pool, &snap, 1);
	rec_mark(c->round->rec, &m);
	return m.result;
}

static int grow(struct client *c)
{
	struct thin_pool_status st;

	thin_pool_status(c->round->pool, &st);
	return thin_pool_grow(c->round->pool,
			      (st.metadata.nr_data_blocks + 1) * st.block_size,
			      (st.metadata.nr_metadata_blocks + 1) * THIN_METADATA_BLOCK);
}

static void *be_control(void *arg)
{
	bool there[MODEL_VOLUMES] = {false};
	struct client *c = arg;
	int r = 0;

	for (unsigned i = 0; i < CONTROLS && !r; i++) {
		uint32_t id = FIRST_SNAP +
			      (uint32_t)seeded_below(&c->rnd, MODEL_VOLUMES - FIRST_SNAP);

		if (seeded_below(&c->rnd, 8) == 0) {
			r = grow(c);
		} else {
			r = there[id] ? delete_snap(c, id)
				      : snapshot(c,
						 (uint32_t)seeded_below(&c->rnd, VOLUMES),
						 id);
			there[id] ^= true;
		}
		usleep((useconds_t)seeded_below(&c->rnd, 1500));
	}
	if (r)
		snprintf(c->failure, sizeof(c->failure), "control: %s", thin_strerror(r));
	return NULL;
}

/* --- a round
 * ---------------------------------------------------------------------------------- */

static void must(int r, const char *what)
{
	if (!r)
		return;
	fprintf(stderr, "crash threads: %s: %s\n", what, thin_strerror(r));
	exit(1);
}

static struct thin_storage *lend(struct round *round, enum rec_file f)
{
	must(thin_storage_open_memory(round->base.disk[f].size, &round->memory[f]),
	     "memory");
	must(thin_storage_write_at(round->memory[f], 0, round->base.disk[f].bytes,
				   round->base.disk[f].size),
	     "memory");
	round->slow[f].base.ops = &slow_ops;
	round->slow[f].under = round->memory[f];
	rec_look_below(round->rec, f, round->memory[f]);
	return rec_lend(round->rec, f, &round->slow[f].base);
}

static void open_round(struct round *round)
{
	struct thin_pool_params params = {
		.commit_interval_s = 1, .queue_if_full = true, .no_space_timeout_s = 30};

	round->rec = rec_new(REC_KEEP);
	round->mon = monitor_new(round->rec, MONITOR_DISJOINT);
	params.metadata = lend(round, REC_METADATA);
	params.data = lend(round, REC_DATA);
	must(thin_pool_open(&params, &round->pool, NULL), "open");
	must(thin_pool_start(round->pool), "start");
	for (uint32_t i = 0; i < VOLUMES; i++) {
		struct thin_volume_params vp = {.device = i,
						.size = WORLD_VOLUME * THIN_SECTOR};

		must(thin_volume_open(round->pool, &vp, &round->volume[i]), "volume");
	}
}

/* Two volumes, some of each already shared. */
static void make_base(struct base *base)
{
	static const char *const ops = "c 0; c 1; w 0 0 128; w 1 16 40; f 0";
	struct base empty;
	struct world w;
	struct ops list;
	const char *bad;

	base_init(&empty, "threads");
	/* Little more than the volumes can take: what comes free is soon used. */
	base_format(&empty, 512, 100);
	if (!ops_parse(&list, ops, &bad))
		abort();
	must(world_open(&w, &empty), "base");
	for (size_t i = 0; i < list.nr; i++)
		must(world_do(&w, &list.op[i]), "base");
	must(world_to_base(&w, base), "base");
	world_close(&w);
	ops_fini(&list);
	base_fini(&empty);
}

static void start_clients(struct round *round, uint64_t seed)
{
	struct client *all[CLIENTS + 1];

	for (unsigned i = 0; i <= CLIENTS; i++) {
		struct client *c = i < CLIENTS ? &round->client[i] : &round->control;

		c->round = round;
		c->number = i;
		c->rnd.state = stamp_mix(seed + i);
		all[i] = c;
	}
	for (unsigned i = 0; i <= CLIENTS; i++)
		must(-pthread_create(&all[i]->thread, NULL,
				     i < CLIENTS ? be_client : be_control, all[i]),
		     "thread");
}

static int join_clients(struct round *round)
{
	int r = 0;

	for (unsigned i = 0; i <= CLIENTS; i++) {
		struct client *c = i < CLIENTS ? &round->client[i] : &round->control;

		pthread_join(c->thread, NULL);
		if (c->failure[0]) {
			snprintf(round->failure, sizeof(round->failure), "%s",
				 c->failure);
			r = -EINVAL;
		}
	}
	return r;
}

/* --- cuts
 * ---------------------------------------------------------------------------------------
 */

/* What a client's part of a volume holds after its first @nr requests. */
static void prefix(const struct round *round, const struct client *c, uint32_t volume,
		   size_t nr, uint32_t *ret)
{
	const struct model_volume *before = &round->base.model.volume[volume];

	for (uint64_t s = 0; s < PART; s++)
		ret[s] = before->sectors[c->number * PART + s].updates[0].value;
	for (size_t i = 0; i < nr; i++) {
		const struct request *q = &c->done[i];

		for (uint64_t s = 0; s < q->nr && q->volume == volume; s++)
			ret[q->first + s - c->number * PART] = q->value;
	}
	for (uint64_t s = 0; s < PART; s++)
		ret[s] = ret[s] == MODEL_BELOW ? STAMP_ZERO : ret[s];
}

static bool is_cut(const struct round *round, const struct client *c, uint32_t volume,
		   const uint8_t *bytes)
{
	uint32_t expected[PART], found[PART];

	for (uint64_t s = 0; s < PART; s++)
		found[s] = stamp_read(bytes + (c->number * PART + s) * THIN_SECTOR,
				      c->number * PART + s);
	for (size_t nr = 0; nr <= c->nr; nr++) {
		prefix(round, c, volume, nr, expected);
		if (!memcmp(expected, found, sizeof(found)))
			return true;
	}
	return false;
}

static int check_cut(struct round *round, uint32_t snap)
{
	struct thin_volume_params params = {
		.device = snap, .size = WORLD_VOLUME * THIN_SECTOR, .read_only = true};
	uint8_t bytes[WORLD_VOLUME * THIN_SECTOR];
	uint32_t source = round->source[snap];
	struct thin_volume *v;
	int r = thin_volume_open(round->pool, &params, &v);

	if (r)
		return 0; /* it was deleted */
	must(thin_volume_read(v, bytes, 0, sizeof(bytes)), "read");
	thin_volume_close(v);
	for (unsigned i = 0; i < CLIENTS && !r; i++) {
		if (is_cut(round, &round->client[i], source, bytes))
			continue;
		snprintf(round->failure, sizeof(round->failure),
			 "snapshot %u of %u is no cut of what client %u did", snap,
			 source, i);
		r = -EINVAL;
	}
	return r;
}

/* --- judging
 * -------------------------------------------------------------------------------------
 */

static int check_images(struct round *round, uint64_t seed)
{
	struct verify vf = {.counts = &round->s->counts, .samples = round->s->samples};
	struct images im;
	struct replay rp;
	int r;

	session_images(round->s, &im, verify_image, &vf);
	im.max_exact = round->s->opt.long_run ? 6 : 2;
	im.every = round->s->opt.long_run ? 1 : 5;
	im.random_subsets = im.random_mixes = round->s->opt.long_run ? 16 : 4;
	replay_init(&rp, round->rec, round->base.disk, &round->base.model, seed);
	r = images_explore(&im, &rp);
	if (!r)
		r = verify_pool(&vf, &round->slow[REC_METADATA].base,
				&round->slow[REC_DATA].base, &rp.model, NULL);
	if (r)
		snprintf(round->failure, sizeof(round->failure), "%s", vf.failure);
	replay_fini(&rp);
	images_fini(&im);
	verify_fini(&vf);
	return r;
}

/* The pool closes its storages; @memory stays, being lent. */
static void close_round(struct round *round)
{
	rec_stop(round->rec);
	for (uint32_t i = 0; i < VOLUMES; i++)
		thin_volume_close(round->volume[i]);
	must(thin_pool_close(round->pool), "close");
}

static int one_round(struct session *s, uint64_t seed)
{
	struct round *round = must_alloc(1, sizeof(*round));
	int r;

	round->s = s;
	make_base(&round->base);
	open_round(round);
	start_clients(round, seed);
	r = join_clients(round);
	for (uint32_t id = FIRST_SNAP; id < MODEL_VOLUMES && !r; id++)
		r = check_cut(round, id);
	close_round(round);
	if (!r && monitor_verdict(round->mon)[0]) {
		snprintf(round->failure, sizeof(round->failure), "monitor: %s",
			 monitor_verdict(round->mon));
		r = -EINVAL;
	}
	if (!r)
		r = check_images(round, seed);
	if (r)
		fprintf(stderr,
			"threads: FAILED: %s\n  again, with luck: crash threads --seed "
			"%" PRIu64 "\n",
			round->failure, s->opt.seed);
	monitor_free(round->mon);
	rec_free(round->rec);
	for (unsigned f = 0; f < REC_FILES; f++)
		thin_storage_close(round->memory[f]);
	base_fini(&round->base);
	free(round);
	return r;
}

int crash_threads(struct session *s)
{
	unsigned nr = s->opt.long_run ? ROUNDS_LONG : ROUNDS;
	struct seeded rnd = {s->opt.seed};
	int r = 0;

	for (unsigned i = 0; i < nr && !r; i++) {
		uint64_t seed = seeded_next(&rnd);

		if (!session_mine(s))
			continue;
		alarm(HANG_TIMEOUT); /* who is not awake by then will never be */
		r = one_round(s, seed);
		session_progress(s);
	}
	alarm(0);
	return r;
}
