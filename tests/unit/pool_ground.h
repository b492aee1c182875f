/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_POOL_GROUND_H
#define THINBD_TESTS_POOL_GROUND_H

/*
 * Ground for tests of lib/pool: a pool on shelves, in blocks of 64 KiB, with
 * its events counted.
 */

#include "unit.h"

#include "pool/pool_internal.h"
#include "shelf.h"
#include "util/limits.h"
#include "util/lock.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define BLOCK	    UINT64_C(65536)
#define EVENT_KINDS 4

struct ground {
	struct shelf *metadata, *data;
	struct thin_pool_params params;
	struct thin_pool *pool;
	atomic_uint events[EVENT_KINDS];
	struct thin_mutex detail_lock;
	char detail[128]; /* of the last one */
};

static inline void ground_event(void *ctx, enum thin_pool_event event, const char *detail)
{
	struct ground *g = ctx;

	thin_mutex_lock(&g->detail_lock);
	snprintf(g->detail, sizeof(g->detail), "%s", detail);
	thin_mutex_unlock(&g->detail_lock);
	atomic_fetch_add(&g->events[event], 1);
}

/* Shelves and a format; no pool is open yet. */
static inline struct ground *ground_make(uint64_t block_size, uint64_t data_blocks,
					 uint64_t metadata_blocks)
{
	struct ground *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	thin_mutex_init(&g->detail_lock);
	g->metadata = shelf_new(metadata_blocks * THIN_METADATA_BLOCK);
	g->data = shelf_new(data_blocks * block_size);
	assert_non_null(g->metadata);
	assert_non_null(g->data);
	assert_int_equal(thin_metadata_format(g->metadata->memory,
					      (uint32_t)(block_size / THIN_SECTOR),
					      data_blocks, NULL),
			 0);
	g->params = (struct thin_pool_params){
		.metadata = &g->metadata->lent,
		.data = &g->data->lent,
		.metadata_cache = THIN_MIN_METADATA_CACHE,
		.commit_interval_s = 1,
		.event = ground_event,
		.event_ctx = g,
	};
	return g;
}

static inline void ground_open(struct ground *g)
{
	struct thin_error e = {""};
	int r = thin_pool_open(&g->params, &g->pool, &e);

	if (r)
		fail_msg("open: %s: %s", thin_strerror(r), e.text);
}

/* What most tests want. */
static inline struct ground *ground_new(uint64_t data_blocks)
{
	struct ground *g = ground_make(BLOCK, data_blocks, 1024);

	ground_open(g);
	return g;
}

static inline void ground_discard(struct ground *g)
{
	shelf_free(g->metadata);
	shelf_free(g->data);
	free(g);
}

static inline void ground_free(struct ground *g)
{
	assert_int_equal(thin_pool_close(g->pool), 0);
	ground_discard(g);
}

/* As after a crash that lost nothing of what was written. */
static inline void ground_crash(struct ground *g)
{
	g->metadata->frozen = g->data->frozen = true;
	(void)thin_pool_close(g->pool);
	g->metadata->frozen = g->data->frozen = false;
	g->metadata->fail_read = g->metadata->fail_write = g->metadata->fail_flush = 0;
	g->data->fail_read = g->data->fail_write = g->data->fail_flush = 0;
	g->metadata->lent.flush_error = g->data->lent.flush_error = 0;
	ground_open(g);
}

static inline struct thin_volume *ground_volume(struct ground *g, uint32_t device,
						uint64_t size, struct thin_origin *origin)
{
	struct thin_volume_params p = {.device = device, .size = size, .origin = origin};
	struct thin_volume *v;

	assert_int_equal(thin_volume_open(g->pool, &p, &v), 0);
	return v;
}

/* A new device, open. */
static inline struct thin_volume *ground_create(struct ground *g, uint32_t device,
						uint64_t size, struct thin_origin *origin)
{
	assert_int_equal(thin_pool_create_thin(g->pool, device), 0);
	return ground_volume(g, device, size, origin);
}

static inline struct thin_metadata_info ground_info(struct ground *g)
{
	struct thin_pool_status s;

	thin_pool_status(g->pool, &s);
	return s.metadata;
}

static inline enum thin_pool_mode ground_mode(struct ground *g)
{
	struct thin_pool_status s;

	thin_pool_status(g->pool, &s);
	return s.mode;
}

static inline uint64_t ground_used(struct ground *g)
{
	return ground_info(g).data_allocated;
}

/* An origin of bytes that all differ from zero and from one block to another. */
static inline uint8_t origin_byte(uint64_t at)
{
	return (uint8_t)(1 + (at / 512 * 7 + at) % 255);
}

static inline struct thin_origin *ground_origin(struct shelf **ret_shelf, uint64_t size)
{
	struct shelf *sh = shelf_new(size);
	uint8_t *bytes = malloc(size);
	struct thin_origin *o;

	assert_non_null(sh);
	assert_non_null(bytes);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = origin_byte(i);
	assert_int_equal(thin_storage_write_at(sh->memory, 0, bytes, size), 0);
	free(bytes);
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &o, NULL), 0);
	*ret_shelf = sh;
	return o;
}

/* Fill [@offset, @offset + @len) with @byte. */
static inline int put(struct thin_volume *v, uint64_t offset, uint64_t len, uint8_t byte,
		      unsigned flags)
{
	uint8_t *buf = malloc(len);
	int r;

	assert_non_null(buf);
	memset(buf, byte, len);
	r = thin_volume_write(v, buf, offset, len, flags);
	free(buf);
	return r;
}

/* All of [@offset, @offset + @len) must be @byte. */
static inline void expect(struct thin_volume *v, uint64_t offset, uint64_t len,
			  uint8_t byte)
{
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	memset(buf, (uint8_t)~byte, len);
	assert_int_equal(thin_volume_read(v, buf, offset, len), 0);
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != byte)
			fail_msg("byte %d is %02x, not %02x", (int)(offset + i), buf[i],
				 byte);
	free(buf);
}

/* Must be what ground_origin() put there. */
static inline void expect_origin(struct thin_volume *v, uint64_t offset, uint64_t len)
{
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	assert_int_equal(thin_volume_read(v, buf, offset, len), 0);
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != origin_byte(offset + i))
			fail_msg("byte %d is not the origin's", (int)(offset + i));
	free(buf);
}

/*
 * A change that fails half-way, as one by a damaged block would: data block
 * 0, which must be in use, is inserted a second time.
 */
static inline void poison(struct thin_volume *v)
{
	assert_int_not_equal(thin_metadata_insert(v->core->d, 1, 0, 1), 0);
}

/* Wait, with patience, until @cond holds. */
#define WAIT_FOR(cond)                                                                   \
	do {                                                                             \
		for (int i_ = 0; !(cond) && i_ < 5000; i_++)                             \
			usleep(1000);                                                    \
		assert_true(cond);                                                       \
	} while (0)

/* A call in a thread of its own. */
struct call {
	pthread_t thread;
	int (*fn)(void *ctx);
	void *ctx;
	int result;
	atomic_bool done;
};

static inline void *call_run(void *arg)
{
	struct call *c = arg;

	c->result = c->fn(c->ctx);
	atomic_store(&c->done, true);
	return NULL;
}

static inline void call_start(struct call *c, int (*fn)(void *ctx), void *ctx)
{
	*c = (struct call){.fn = fn, .ctx = ctx};
	assert_int_equal(pthread_create(&c->thread, NULL, call_run, c), 0);
}

static inline int call_join(struct call *c)
{
	assert_int_equal(pthread_join(c->thread, NULL), 0);
	return c->result;
}

/* A write in a thread of its own. */
struct write_call {
	struct call call;
	struct thin_volume *v;
	uint64_t offset, len;
	uint8_t byte;
	unsigned flags;
};

static inline int write_call_run(void *ctx)
{
	struct write_call *w = ctx;

	return put(w->v, w->offset, w->len, w->byte, w->flags);
}

static inline void write_start(struct write_call *w)
{
	call_start(&w->call, write_call_run, w);
}

/* A door that calls go through: shut, they wait. */
struct door {
	struct thin_mutex lock;
	struct thin_cond changed;
	bool shut;
	unsigned waiting;
};

static inline void door_init(struct door *d)
{
	*d = (struct door){.shut = false};
	thin_mutex_init(&d->lock);
	thin_cond_init(&d->changed);
}

static inline void door_set(struct door *d, bool shut)
{
	thin_mutex_lock(&d->lock);
	d->shut = shut;
	thin_cond_broadcast(&d->changed);
	thin_mutex_unlock(&d->lock);
}

static inline void door_pass(struct door *d)
{
	thin_mutex_lock(&d->lock);
	d->waiting++;
	while (d->shut)
		thin_cond_wait(&d->changed, &d->lock);
	d->waiting--;
	thin_mutex_unlock(&d->lock);
}

static inline unsigned door_waiting(struct door *d)
{
	unsigned n;

	thin_mutex_lock(&d->lock);
	n = d->waiting;
	thin_mutex_unlock(&d->lock);
	return n;
}

static inline void door_of_writes(void *ctx, const struct thin_segment *seg, size_t nr)
{
	(void)seg;
	(void)nr;
	door_pass(ctx);
}

static inline void door_of_flushes(void *ctx)
{
	door_pass(ctx);
}

#endif
