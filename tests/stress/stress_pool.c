/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A pool under many threads: reads, writes, trims, zeros, snapshots, deletes
 * and commits at once.  Made for ThreadSanitizer, and checking on its own:
 *
 *  - Every sector that is written carries who wrote it, where, and a number
 *    that goes up.  Per sector one writer is at it at a time, so a reader
 *    knows what it may find: what was there when it asked, or what came since
 *    (I5, P3).
 *  - A snapshot holds for each sector what was there when it was asked for,
 *    or what came while it was made; and of a request all or nothing (I8).
 *  - Two volumes in one group are of one instant: who is written after the
 *    other never is ahead of it.
 *  - A snapshot does not change any more.
 *
 *   THINBD_SECONDS  how long (default 5)
 *   THINBD_SEED     where the random numbers begin
 */

#include "../unit/shelf.h"
#include "../unit/seeded.h"
#include "audit/audit.h"
#include "pool/pool.h"
#include "util/limits.h"
#include "util/lock.h"

#include <stdarg.h>

#define SECTOR		512u
#define BLOCK		8192u
#define BLOCK_SECTORS	(BLOCK / SECTOR)
#define SECTORS		(50 * BLOCK_SECTORS - 3) /* the last block is short */
#define VOLUMES		3
#define WITH_ORIGIN	2			  /* this volume has one */
#define ORIGIN_SECTORS	(20 * BLOCK_SECTORS + 5u) /* it is shorter */
#define STRIPE		64u /* ThreadSanitizer follows 64 locks at a time */
#define STRIPES		(SECTORS / STRIPE + 1)
#define PAIR_SECTOR	(SECTORS - 1) /* the pair writer's alone */
#define METADATA_BLOCKS 1024u
#define DATA_BLOCKS	128u
#define MAGIC		UINT64_C(0x7468696e7374616d)
#define ORIGIN_SEQ	UINT64_C(0) /* of a sector that the origin holds */

struct stamp {
	uint64_t magic, volume, sector, seq;
	uint64_t begin, end; /* sectors of its request */
	uint64_t other;	     /* the pair writer's */
	uint64_t sum;
};

_Static_assert(SECTOR % sizeof(struct stamp) == 0, "stamps fill a sector");

/* What became of a sector.  The numbers go up only. */
struct sector {
	_Atomic uint64_t issued;  /* of any change */
	_Atomic uint64_t done;	  /* the last that completed */
	_Atomic uint64_t zeroed;  /* the last zeroing that was issued */
	_Atomic uint64_t trimmed; /* likewise */
};

struct volume {
	struct thin_volume *v;
	struct sector sector[SECTORS];
	struct thin_mutex stripe[STRIPES];
};

static struct {
	struct thin_pool *pool;
	struct thin_origin *origin;
	struct volume volume[VOLUMES];
	_Atomic uint64_t seq;
	_Atomic uint32_t next_device;
	atomic_bool stop;
	atomic_ulong requests, refused, snapshots;
} st;

__attribute__((noreturn, format(printf, 2, 3))) static void wrong(int line,
								  const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "stress_pool.c:%d: ", line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

#define SHOULD(cond, ...)                                                                \
	do {                                                                             \
		if (!(cond))                                                             \
			wrong(__LINE__, __VA_ARGS__);                                    \
	} while (0)

#define SHOULD_WORK(call)                                                                \
	do {                                                                             \
		int r_ = (call);                                                         \
		if (r_)                                                                  \
			wrong(__LINE__, "%s: %s", #call, thin_strerror(r_));             \
	} while (0)

/* --- stamps ------------------------------------------------------------------ */

static uint64_t sum_of(const struct stamp *s)
{
	const uint64_t *p = (const uint64_t *)s;
	uint64_t sum = MAGIC;

	for (size_t i = 0; i < offsetof(struct stamp, sum) / 8; i++)
		sum = (sum ^ p[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return sum;
}

static void write_stamp(uint8_t *buf, struct stamp s)
{
	s.magic = MAGIC;
	s.sum = sum_of(&s);
	for (size_t i = 0; i < SECTOR; i += sizeof(s))
		memcpy(buf + i, &s, sizeof(s));
}

/* False for a sector of zeros; anything but a whole stamp is wrong. */
static bool read_stamp(const uint8_t *buf, uint64_t volume, uint64_t sector,
		       struct stamp *ret)
{
	static const uint8_t zeros[SECTOR];

	if (!memcmp(buf, zeros, SECTOR))
		return false;
	memcpy(ret, buf, sizeof(*ret));
	SHOULD(ret->magic == MAGIC && ret->sum == sum_of(ret),
	       "volume %d, sector %d: garbage", (int)volume, (int)sector);
	for (size_t i = sizeof(*ret); i < SECTOR; i += sizeof(*ret))
		SHOULD(!memcmp(buf + i, ret, sizeof(*ret)), "volume %d, sector %d: torn",
		       (int)volume, (int)sector);
	SHOULD(ret->volume == volume && ret->sector == sector,
	       "volume %d, sector %d: holds volume %d's sector %d", (int)volume,
	       (int)sector, (int)ret->volume, (int)ret->sector);
	return true;
}

/* What was known of a sector around the time it was read. */
struct window {
	uint64_t done;	 /* before */
	uint64_t issued; /* after; as the next two */
	uint64_t zeroed, trimmed;
};

static void window_open(struct volume *vol, uint64_t begin, uint64_t nr, struct window *w)
{
	for (uint64_t i = 0; i < nr; i++)
		w[i].done = vol->sector[begin + i].done;
}

static void window_close(struct volume *vol, uint64_t begin, uint64_t nr,
			 struct window *w)
{
	for (uint64_t i = 0; i < nr; i++) {
		w[i].issued = vol->sector[begin + i].issued;
		w[i].zeroed = vol->sector[begin + i].zeroed;
		w[i].trimmed = vol->sector[begin + i].trimmed;
	}
}

static bool has_origin(uint64_t volume, uint64_t sector)
{
	return volume == WITH_ORIGIN && sector < ORIGIN_SECTORS;
}

/* May the sector look as if it had been zeroed, or trimmed, since @done? */
static bool may_be_bare(const struct window *w, uint64_t volume, uint64_t sector,
			bool zeros)
{
	bool trimmed = w->trimmed >= w->done || !w->done;

	if (!has_origin(volume, sector))
		return zeros && (trimmed || w->zeroed >= w->done);
	return zeros ? w->zeroed && w->zeroed >= w->done : trimmed;
}

static void check_sector(const uint8_t *buf, uint64_t volume, uint64_t sector,
			 const struct window *w)
{
	struct stamp s;

	if (!read_stamp(buf, volume, sector, &s))
		SHOULD(may_be_bare(w, volume, sector, true),
		       "volume %d, sector %d: zeros, but %d was there", (int)volume,
		       (int)sector, (int)w->done);
	else if (s.seq == ORIGIN_SEQ)
		SHOULD(may_be_bare(w, volume, sector, false),
		       "volume %d, sector %d: the origin's, but %d was there",
		       (int)volume, (int)sector, (int)w->done);
	else
		SHOULD(s.seq >= w->done && s.seq <= w->issued,
		       "volume %d, sector %d: %d, but between %d and %d was there",
		       (int)volume, (int)sector, (int)s.seq, (int)w->done,
		       (int)w->issued);
}

/* --- reads ------------------------------------------------------------------- */

struct range {
	uint64_t begin, nr; /* sectors */
};

static struct range any_range(struct seeded *rng)
{
	uint64_t begin = seeded_below(rng, PAIR_SECTOR), nr;

	switch (seeded_below(rng, 4)) {
	case 0:
		nr = 1 + seeded_below(rng, 8);
		break;
	case 1:
		nr = 1 + seeded_below(rng, 3 * BLOCK_SECTORS);
		if (!seeded_below(rng, 8)) /* more runs than are in hand at a time */
			nr *= 16;
		break;
	case 2:
		begin -= begin % BLOCK_SECTORS;
		nr = BLOCK_SECTORS * (1 + seeded_below(rng, 3));
		break;
	default:
		nr = 1 + seeded_below(rng, BLOCK_SECTORS);
		break;
	}
	if (nr > PAIR_SECTOR - begin)
		nr = PAIR_SECTOR - begin;
	return (struct range){begin, nr};
}

static void read_some(struct seeded *rng, uint8_t *buf)
{
	uint64_t volume = seeded_below(rng, VOLUMES);
	struct volume *vol = &st.volume[volume];
	struct range x = any_range(rng);
	struct window w[SECTORS];

	window_open(vol, x.begin, x.nr, w);
	SHOULD_WORK(thin_volume_read(vol->v, buf, x.begin * SECTOR, x.nr * SECTOR));
	window_close(vol, x.begin, x.nr, w);
	for (uint64_t i = 0; i < x.nr; i++)
		check_sector(buf + i * SECTOR, volume, x.begin + i, &w[i]);
}

/* --- changes ------------------------------------------------------------------ */

static void lock_stripes(struct volume *vol, struct range x) THIN_NO_THREAD_SAFETY
{
	for (uint64_t i = x.begin / STRIPE; i <= (x.begin + x.nr - 1) / STRIPE; i++)
		thin_mutex_lock(&vol->stripe[i]);
}

static void unlock_stripes(struct volume *vol, struct range x) THIN_NO_THREAD_SAFETY
{
	for (uint64_t i = x.begin / STRIPE; i <= (x.begin + x.nr - 1) / STRIPE; i++)
		thin_mutex_unlock(&vol->stripe[i]);
}

static void mark_issued(struct volume *vol, struct range x, uint64_t seq)
{
	for (uint64_t i = 0; i < x.nr; i++)
		vol->sector[x.begin + i].issued = seq;
}

static void mark_done(struct volume *vol, struct range x, uint64_t seq)
{
	for (uint64_t i = 0; i < x.nr; i++)
		vol->sector[x.begin + i].done = seq;
}

/* -ENOSPC is an answer; the request did nothing then. */
static bool worked(int r)
{
	atomic_fetch_add(&st.requests, 1);
	if (!r)
		return true;
	SHOULD(r == -ENOSPC, "%s", thin_strerror(r));
	atomic_fetch_add(&st.refused, 1);
	return false;
}

static void write_some(struct seeded *rng, uint8_t *buf)
{
	uint64_t volume = seeded_below(rng, VOLUMES), seq;
	struct volume *vol = &st.volume[volume];
	struct range x = any_range(rng);
	unsigned flags = seeded_below(rng, 16) ? 0 : THIN_FUA;

	lock_stripes(vol, x);
	seq = atomic_fetch_add(&st.seq, 1) + 1;
	for (uint64_t i = 0; i < x.nr; i++)
		write_stamp(buf + i * SECTOR, (struct stamp){.volume = volume,
							     .sector = x.begin + i,
							     .seq = seq,
							     .begin = x.begin,
							     .end = x.begin + x.nr});
	mark_issued(vol, x, seq);
	if (worked(thin_volume_write(vol->v, buf, x.begin * SECTOR, x.nr * SECTOR,
				     flags)))
		mark_done(vol, x, seq);
	unlock_stripes(vol, x);
}

static void zero_some(struct seeded *rng)
{
	struct volume *vol = &st.volume[seeded_below(rng, VOLUMES)];
	struct range x = any_range(rng);
	unsigned flags = seeded_below(rng, 2) ? THIN_MAY_UNMAP : 0;
	uint64_t seq;

	lock_stripes(vol, x);
	seq = atomic_fetch_add(&st.seq, 1) + 1;
	for (uint64_t i = 0; i < x.nr; i++)
		vol->sector[x.begin + i].zeroed = seq;
	mark_issued(vol, x, seq);
	if (worked(thin_volume_zero(vol->v, x.begin * SECTOR, x.nr * SECTOR, flags)))
		mark_done(vol, x, seq);
	unlock_stripes(vol, x);
}

/* Whole blocks only: of the rest nothing is said. */
static void trim_some(struct seeded *rng)
{
	struct volume *vol = &st.volume[seeded_below(rng, VOLUMES)];
	struct range x = any_range(rng), whole;
	uint64_t end = (x.begin + x.nr) / BLOCK_SECTORS * BLOCK_SECTORS, seq;

	whole.begin = (x.begin + BLOCK_SECTORS - 1) / BLOCK_SECTORS * BLOCK_SECTORS;
	whole.nr = end > whole.begin ? end - whole.begin : 0;
	lock_stripes(vol, x);
	seq = atomic_fetch_add(&st.seq, 1) + 1;
	for (uint64_t i = 0; i < whole.nr; i++)
		vol->sector[whole.begin + i].trimmed = seq;
	mark_issued(vol, whole, seq);
	SHOULD_WORK(thin_volume_trim(vol->v, x.begin * SECTOR, x.nr * SECTOR, 0));
	mark_done(vol, whole, seq);
	unlock_stripes(vol, x);
}

/* First one volume, then the other, which says what the first one holds. */
static void write_pair(uint8_t *buf)
{
	struct range x = {PAIR_SECTOR, 1};
	uint64_t first = 0;

	for (uint64_t volume = 0; volume < 2; volume++) {
		struct volume *vol = &st.volume[volume];
		uint64_t seq = atomic_fetch_add(&st.seq, 1) + 1;

		write_stamp(buf, (struct stamp){.volume = volume,
						.sector = PAIR_SECTOR,
						.seq = seq,
						.begin = PAIR_SECTOR,
						.end = PAIR_SECTOR + 1,
						.other = first});
		mark_issued(vol, x, seq);
		if (!worked(thin_volume_write(vol->v, buf, PAIR_SECTOR * SECTOR, SECTOR,
					      0)))
			return;
		mark_done(vol, x, seq);
		first = seq;
	}
}

/* --- snapshots ------------------------------------------------------------------ */

struct snapshot {
	uint64_t volume; /* of which */
	uint32_t device;
	struct thin_volume *v;
	uint8_t *content;
	struct window w[SECTORS];
};

static struct thin_volume *open_device(uint32_t device, uint64_t volume)
{
	struct thin_volume_params p = {
		.device = device,
		.size = SECTORS * SECTOR,
		.origin = volume == WITH_ORIGIN ? st.origin : NULL,
	};
	struct thin_volume *v;

	SHOULD_WORK(thin_volume_open(st.pool, &p, &v));
	return v;
}

/* All sectors of a request that left something hold it, or what came later. */
static void check_whole(const struct snapshot *s, const struct stamp *of)
{
	struct stamp other;

	for (uint64_t i = of->begin; i < of->end; i++) {
		bool stamped = read_stamp(s->content + i * SECTOR, s->volume, i, &other);

		if (stamped && other.seq != ORIGIN_SEQ)
			SHOULD(other.seq >= of->seq,
			       "snapshot of %d: sector %d has %d, of a request before %d",
			       (int)s->volume, (int)i, (int)other.seq, (int)of->seq);
		else
			SHOULD(s->w[i].zeroed >= of->seq || s->w[i].trimmed >= of->seq,
			       "snapshot of %d: sector %d has not got request %d",
			       (int)s->volume, (int)i, (int)of->seq);
	}
}

static void check_snapshot(struct snapshot *s)
{
	struct stamp of;

	SHOULD_WORK(thin_volume_read(s->v, s->content, 0, SECTORS * SECTOR));
	for (uint64_t i = 0; i < SECTORS; i++) {
		check_sector(s->content + i * SECTOR, s->volume, i, &s->w[i]);
		if (read_stamp(s->content + i * SECTOR, s->volume, i, &of) &&
		    of.seq != ORIGIN_SEQ)
			check_whole(s, &of);
	}
}

static void check_pair(const struct snapshot *s)
{
	struct stamp first = {0}, second = {0};

	if (!read_stamp(s[1].content + PAIR_SECTOR * SECTOR, 1, PAIR_SECTOR, &second))
		return;
	SHOULD(read_stamp(s[0].content + PAIR_SECTOR * SECTOR, 0, PAIR_SECTOR, &first) &&
		       first.seq >= second.other,
	       "the group's second volume knows %d, its first one only %d",
	       (int)second.other, (int)first.seq);
}

static void check_unchanged(struct snapshot *s, uint8_t *buf)
{
	SHOULD_WORK(thin_volume_read(s->v, buf, 0, SECTORS * SECTOR));
	SHOULD(!memcmp(buf, s->content, SECTORS * SECTOR), "a snapshot of %d changed",
	       (int)s->volume);
}

/* A snapshot is a volume like any other. */
static void write_snapshot(struct snapshot *s, struct seeded *rng)
{
	struct range x = any_range(rng);

	seeded_fill(rng, s->content + x.begin * SECTOR, 64);
	if (!worked(thin_volume_write(s->v, s->content + x.begin * SECTOR,
				      x.begin * SECTOR, x.nr * SECTOR, 0)))
		SHOULD_WORK(thin_volume_read(s->v, s->content, 0, SECTORS * SECTOR));
}

static void take_snapshots(struct snapshot *s, size_t nr)
{
	struct thin_snap_pair pairs[2];

	for (size_t i = 0; i < nr; i++) {
		s[i].device = atomic_fetch_add(&st.next_device, 1);
		pairs[i] = (struct thin_snap_pair){(uint32_t)s[i].volume, s[i].device};
		window_open(&st.volume[s[i].volume], 0, SECTORS, s[i].w);
	}
	SHOULD_WORK(thin_pool_snapshot(st.pool, pairs, nr));
	for (size_t i = 0; i < nr; i++) {
		window_close(&st.volume[s[i].volume], 0, SECTORS, s[i].w);
		s[i].v = open_device(s[i].device, s[i].volume);
		check_snapshot(&s[i]);
	}
	atomic_fetch_add(&st.snapshots, nr);
}

static void drop_snapshots(struct snapshot *s, size_t nr)
{
	uint32_t devices[2];

	for (size_t i = 0; i < nr; i++) {
		thin_volume_close(s[i].v);
		devices[i] = s[i].device;
	}
	SHOULD_WORK(thin_pool_delete(st.pool, devices, nr));
}

static void snapshot_some(struct seeded *rng, struct snapshot *s, uint8_t *buf)
{
	size_t nr = 1 + seeded_below(rng, 2);

	s[0].volume = nr == 2 ? 0 : seeded_below(rng, VOLUMES);
	s[1].volume = 1;
	take_snapshots(s, nr);
	if (nr == 2)
		check_pair(s);
	for (unsigned i = 0; i < 3 && !st.stop; i++) {
		check_unchanged(&s[0], buf);
		write_snapshot(&s[nr - 1], rng);
		check_unchanged(&s[nr - 1], buf);
	}
	drop_snapshots(s, nr);
}

/* --- threads -------------------------------------------------------------------- */

enum role {
	READER,
	WRITER,
	TRIMMER,
	ZEROER,
	PAIRER,
	SNAPSHOOTER,
	COMMITTER,
	ROLES
};

struct worker {
	pthread_t thread;
	enum role role;
	struct seeded rng;
};

static void commit_some(struct seeded *rng)
{
	if (seeded_below(rng, 2))
		SHOULD_WORK(thin_pool_commit(st.pool));
	else
		SHOULD_WORK(thin_volume_flush(st.volume[seeded_below(rng, VOLUMES)].v));
}

static void act(struct worker *w, uint8_t *buf, struct snapshot *s)
{
	switch (w->role) {
	case READER:
		read_some(&w->rng, buf);
		break;
	case WRITER:
		write_some(&w->rng, buf);
		break;
	case TRIMMER:
		trim_some(&w->rng);
		break;
	case ZEROER:
		zero_some(&w->rng);
		break;
	case PAIRER:
		write_pair(buf);
		break;
	case SNAPSHOOTER:
		snapshot_some(&w->rng, s, buf);
		break;
	default:
		commit_some(&w->rng);
		break;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint8_t *buf = malloc(SECTORS * SECTOR);
	struct snapshot *s = calloc(2, sizeof(*s));

	SHOULD(buf && s, "no memory");
	for (int i = 0; i < 2; i++) {
		s[i].content = malloc(SECTORS * SECTOR);
		SHOULD(s[i].content, "no memory");
	}
	while (!st.stop)
		act(w, buf, s);
	for (int i = 0; i < 2; i++)
		free(s[i].content);
	free(s);
	free(buf);
	return NULL;
}

static void run(struct seeded *rng, unsigned seconds)
{
	static const enum role roles[] = {READER, READER, WRITER,      WRITER,	 TRIMMER,
					  ZEROER, PAIRER, SNAPSHOOTER, COMMITTER};
	struct worker w[sizeof(roles) / sizeof(roles[0])];

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		w[i].role = roles[i];
		w[i].rng.state = seeded_next(rng);
		SHOULD_WORK(-pthread_create(&w[i].thread, NULL, work, &w[i]));
	}
	sleep(seconds);
	st.stop = true;
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		SHOULD_WORK(-pthread_join(w[i].thread, NULL));
}

/* --- the pool --------------------------------------------------------------------- */

static struct shelf *make_origin(void)
{
	struct shelf *sh = shelf_new(ORIGIN_SECTORS * SECTOR);
	uint8_t buf[SECTOR];

	SHOULD(sh, "no memory");
	for (uint64_t i = 0; i < ORIGIN_SECTORS; i++) {
		write_stamp(buf, (struct stamp){.volume = WITH_ORIGIN,
						.sector = i,
						.seq = ORIGIN_SEQ});
		SHOULD_WORK(thin_storage_write_at(sh->memory, i * SECTOR, buf, SECTOR));
	}
	SHOULD_WORK(thin_origin_open(&sh->lent, "origin", NULL, &st.origin, NULL));
	return sh;
}

static void open_pool(struct shelf *metadata, struct shelf *data, bool queue)
{
	struct thin_pool_params p = {
		.metadata = &metadata->lent,
		.data = &data->lent,
		.metadata_cache = THIN_MIN_METADATA_CACHE,
		.queue_if_full = queue,
		.no_space_timeout_s = 1,
		.commit_interval_s = 1,
	};

	SHOULD_WORK(thin_metadata_format(metadata->memory, BLOCK / THIN_SECTOR,
					 DATA_BLOCKS, NULL));
	SHOULD_WORK(thin_pool_open(&p, &st.pool, NULL));
	SHOULD_WORK(thin_pool_start(st.pool));
	for (uint32_t i = 0; i < VOLUMES; i++) {
		SHOULD_WORK(thin_pool_create_thin(st.pool, i));
		st.volume[i].v = open_device(i, i);
		for (unsigned j = 0; j < STRIPES; j++)
			thin_mutex_init(&st.volume[i].stripe[j]);
	}
	st.next_device = VOLUMES;
}

static void audit(struct shelf *metadata)
{
	struct thin_audit_summary s;

	SHOULD_WORK(thin_audit(metadata->memory, NULL, NULL, NULL, &s, NULL));
	SHOULD(s.complete && !s.fatal && !s.nonfatal, "the audit found damage");
}

static void close_pool(struct shelf *metadata)
{
	static const uint32_t devices[VOLUMES] = {0, 1, 2};
	struct thin_pool_status s;

	for (uint32_t i = 0; i < VOLUMES; i++)
		thin_volume_close(st.volume[i].v);
	SHOULD_WORK(thin_pool_delete(st.pool, devices, VOLUMES));
	thin_pool_status(st.pool, &s);
	SHOULD(!s.metadata.data_allocated, "%d blocks leaked",
	       (int)s.metadata.data_allocated);
	SHOULD_WORK(thin_pool_close(st.pool));
	audit(metadata);
}

int main(void)
{
	const char *given = getenv("THINBD_SECONDS");
	struct seeded rng = seeded_start("stress/pool");
	struct shelf *metadata = shelf_new(METADATA_BLOCKS * THIN_METADATA_BLOCK);
	struct shelf *data = shelf_new((uint64_t)DATA_BLOCKS * BLOCK), *origin;

	SHOULD(metadata && data, "no memory");
	origin = make_origin();
	open_pool(metadata, data, seeded_below(&rng, 2));
	run(&rng, given ? (unsigned)strtoul(given, NULL, 0) : 5);
	close_pool(metadata);
	thin_origin_unref(st.origin);
	shelf_free(origin);
	shelf_free(metadata);
	shelf_free(data);
	printf("%lu requests, %lu without room, %lu snapshots\n", st.requests, st.refused,
	       st.snapshots);
	return 0;
}
