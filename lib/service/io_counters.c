/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/io_counters.h"

#include "service/json.h"
#include "util/checked.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/*
 * Threads count on one of several sets of counters, so that they seldom meet
 * on a cache line; who wants to know adds the sets up.  Each counter is exact;
 * of a request that is just being counted some may have it, others not yet.
 *
 * Latencies are counted in buckets, four for each power of two of
 * microseconds: a percentile is told as the upper edge of its bucket, at
 * most a quarter too large, and never above the largest that was seen.
 */

#define SETS	8
#define BUCKETS 104 /* up to 2^27 us, which is two minutes; all above in the last */

struct counters {
	_Atomic uint64_t bytes, ns, max_ns, errors;
	_Atomic uint64_t bucket[BUCKETS];
};

struct thin_counters {
	struct thin_counters *next; /* handles_lock */
	uint32_t device;
	int64_t since; /* seconds since 1970 */
	atomic_uint references;
	struct {
		struct counters of[THIN_IO_KINDS];
	} __attribute__((aligned(128))) set[SETS];
};

/* --- counting ------------------------------------------------------------ */

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t ns)
{
	uint64_t us = ns / 1000;
	unsigned log, bucket;

	if (us < 4)
		return (unsigned)us;
	log = 63 - (unsigned)__builtin_clzll(us);
	bucket = (log - 1) * 4 + (unsigned)((us >> (log - 2)) & 3);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* What is in @bucket took less than this. */
static uint64_t bucket_edge_us(unsigned bucket)
{
	if (bucket < 4)
		return bucket + 1;
	return (uint64_t)(bucket % 4 + 5) << (bucket / 4 - 1);
}

static void raise_to(_Atomic uint64_t *max, uint64_t n)
{
	uint64_t seen = get(max);

	while (seen < n && !atomic_compare_exchange_weak(max, &seen, n))
		;
}

void thin_count(struct thin_counters *io, enum thin_io_kind kind, uint64_t bytes,
		uint64_t begin_ns, int result)
{
	struct counters *c = &io->set[thin_shard() % SETS].of[kind];
	uint64_t ns = thin_now_ns() - begin_ns;

	if (result == -ENOTSUP)
		return;
	if (result) {
		add(&c->errors, 1);
		return;
	}
	add(&c->bucket[bucket_of(ns)], 1);
	add(&c->bytes, bytes);
	add(&c->ns, ns);
	raise_to(&c->max_ns, ns);
}

/* --- whose --------------------------------------------------------------- */

static struct thin_counters *find(struct thinbd *t, uint32_t device)
	THIN_REQUIRES(t->handles_lock)
{
	struct thin_counters *io = t->io;

	while (io && io->device != device)
		io = io->next;
	return io;
}

static struct thin_counters *make(struct thinbd *t, uint32_t device)
	THIN_REQUIRES(t->handles_lock)
{
	struct thin_counters *io =
		aligned_alloc(_Alignof(struct thin_counters), sizeof(*io));

	if (!io)
		return NULL;
	memset(io, 0, sizeof(*io));
	io->device = device;
	io->since = time(NULL);
	atomic_init(&io->references, 1); /* the list's */
	io->next = t->io;
	t->io = io;
	return io;
}

static struct thin_counters *get_known(struct thinbd *t, uint32_t device, bool create)
{
	thin_mutex_lock(&t->handles_lock);
	struct thin_counters *io = find(t, device);
	if (!io && create)
		io = make(t, device);
	if (io)
		atomic_fetch_add(&io->references, 1);
	thin_mutex_unlock(&t->handles_lock);
	return io;
}

struct thin_counters *thin_counters_get(struct thinbd *t, uint32_t device)
{
	return get_known(t, device, true);
}

void thin_counters_put(struct thin_counters *io)
{
	if (io && atomic_fetch_sub(&io->references, 1) == 1)
		free(io);
}

void thin_counters_forget(struct thinbd *t, uint32_t device)
{
	thin_mutex_lock(&t->handles_lock);
	struct thin_counters *io = find(t, device);
	for (struct thin_counters **at = &t->io; io && *at; at = &(*at)->next)
		if (*at == io) {
			*at = io->next;
			break;
		}
	thin_mutex_unlock(&t->handles_lock);
	thin_counters_put(io);
}

void thin_counters_forget_all(struct thinbd *t) THIN_NO_THREAD_SAFETY
{
	while (t->io)
		thin_counters_forget(t, t->io->device);
}

/* --- telling ------------------------------------------------------------- */

struct sum {
	uint64_t operations, bytes, ns, max_ns, errors;
	uint64_t bucket[BUCKETS];
};

static void sum_up(struct thin_counters *io, enum thin_io_kind kind, struct sum *ret)
{
	*ret = (struct sum){0};
	for (unsigned i = 0; i < SETS; i++) {
		struct counters *c = &io->set[i].of[kind];

		ret->bytes += get(&c->bytes);
		ret->ns += get(&c->ns);
		ret->max_ns = thin_max(ret->max_ns, get(&c->max_ns));
		ret->errors += get(&c->errors);
		for (unsigned b = 0; b < BUCKETS; b++) {
			uint64_t n = get(&c->bucket[b]);

			ret->bucket[b] += n;
			ret->operations += n;
		}
	}
}

static uint64_t us_of(uint64_t ns)
{
	return thin_div_up(ns, UINT64_C(1000));
}

/* At least @percent of the operations took no longer. */
static uint64_t percentile_us(const struct sum *s, unsigned percent)
{
	uint64_t rank = s->operations - s->operations / 100 * (100 - percent) -
			s->operations % 100 * (100 - percent) / 100;
	uint64_t seen = 0;

	for (unsigned b = 0; b < BUCKETS - 1; b++) {
		seen += s->bucket[b];
		if (seen >= rank)
			return thin_min(bucket_edge_us(b), us_of(s->max_ns));
	}
	return us_of(s->max_ns);
}

static struct json_object *latency_json(const struct sum *s)
{
	struct json_object *o;

	if (!s->operations)
		return NULL;
	o = json_object_new_object();
	thin_json_add(o, "mean", thin_json_number(us_of(s->ns / s->operations)));
	thin_json_add(o, "p50", thin_json_number(percentile_us(s, 50)));
	thin_json_add(o, "p99", thin_json_number(percentile_us(s, 99)));
	thin_json_add(o, "max", thin_json_number(us_of(s->max_ns)));
	return o;
}

static struct json_object *histogram_json(const struct sum *s)
{
	struct json_object *array = json_object_new_array();

	for (unsigned b = 0; array && b < BUCKETS; b++) {
		struct json_object *o;

		if (!s->bucket[b])
			continue;
		o = json_object_new_object();
		thin_json_add(o, "below_us", thin_json_number(bucket_edge_us(b)));
		thin_json_add(o, "operations", thin_json_number(s->bucket[b]));
		(void)json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *kind_json(struct thin_counters *io, enum thin_io_kind kind)
{
	struct json_object *o = json_object_new_object();
	struct sum s;

	sum_up(io, kind, &s);
	thin_json_add(o, "operations", thin_json_number(s.operations));
	thin_json_add(o, "bytes", thin_json_number(s.bytes));
	thin_json_add(o, "errors", thin_json_number(s.errors));
	thin_json_add(o, "latency_us", latency_json(&s));
	thin_json_add(o, "histogram", histogram_json(&s));
	return o;
}

struct json_object *thin_counters_json(struct thinbd *t, uint32_t device)
{
	static const char *const names[THIN_IO_KINDS] = {
		[THIN_IO_READ] = "reads",    [THIN_IO_WRITE] = "writes",
		[THIN_IO_TRIM] = "trims",    [THIN_IO_ZERO] = "zeroes",
		[THIN_IO_FLUSH] = "flushes",
	};
	struct thin_counters *io = get_known(t, device, false);
	struct json_object *o;

	if (!io)
		return NULL;
	o = json_object_new_object();
	thin_json_add(o, "since", thin_time_json(io->since));
	for (unsigned kind = 0; kind < THIN_IO_KINDS; kind++)
		thin_json_add(o, names[kind], kind_json(io, kind));
	thin_counters_put(io);
	return o;
}
