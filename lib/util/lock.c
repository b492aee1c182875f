/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/lock.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <time.h>

/*
 * The pthread calls below fail only when they are used wrongly (a lock that
 * was never initialised, unlocked by a stranger): our bugs, so asserted.
 * CHECK keeps the call itself also where asserts are compiled out.
 */
#define CHECK(call)                                                                      \
	do {                                                                             \
		int r_ = (call);                                                         \
		assert(r_ == 0);                                                         \
		(void)r_;                                                                \
	} while (0)

void thin_mutex_init(struct thin_mutex *m)
{
	CHECK(pthread_mutex_init(&m->m, NULL));
}

void thin_mutex_fini(struct thin_mutex *m)
{
	CHECK(pthread_mutex_destroy(&m->m));
}

void thin_mutex_lock(struct thin_mutex *m) THIN_NO_THREAD_SAFETY
{
	CHECK(pthread_mutex_lock(&m->m));
}

void thin_mutex_unlock(struct thin_mutex *m) THIN_NO_THREAD_SAFETY
{
	CHECK(pthread_mutex_unlock(&m->m));
}

void thin_cond_init(struct thin_cond *c)
{
	pthread_condattr_t attr;

	CHECK(pthread_condattr_init(&attr));
	CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	CHECK(pthread_cond_init(&c->c, &attr));
	CHECK(pthread_condattr_destroy(&attr));
}

void thin_cond_fini(struct thin_cond *c)
{
	CHECK(pthread_cond_destroy(&c->c));
}

void thin_cond_wait(struct thin_cond *c, struct thin_mutex *m)
{
	CHECK(pthread_cond_wait(&c->c, &m->m));
}

bool thin_cond_wait_until(struct thin_cond *c, struct thin_mutex *m, uint64_t deadline_ns)
{
	struct timespec t = {
		.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long)(deadline_ns % 1000000000u),
	};

	return pthread_cond_timedwait(&c->c, &m->m, &t) != ETIMEDOUT;
}

void thin_cond_broadcast(struct thin_cond *c)
{
	CHECK(pthread_cond_broadcast(&c->c));
}

uint64_t thin_now_ns(void)
{
	struct timespec t;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &t));
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Threads are dealt out to the shards in turn, as they first come. */
unsigned thin_shard(void)
{
	static atomic_uint next;
	static _Thread_local unsigned mine; /* 0: none yet */

	if (!mine)
		mine = 1 + atomic_fetch_add(&next, 1) % THIN_SHARDS;
	return mine - 1;
}

/* Writers first: a crowd of readers must not keep one away for ever. */
void thin_sharded_init(struct thin_sharded_lock *l)
{
	pthread_rwlockattr_t attr;

	CHECK(pthread_rwlockattr_init(&attr));
	CHECK(pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
	for (unsigned i = 0; i < THIN_SHARDS; i++)
		CHECK(pthread_rwlock_init(&l->shard[i].rw, &attr));
	CHECK(pthread_rwlockattr_destroy(&attr));
}

void thin_sharded_fini(struct thin_sharded_lock *l)
{
	for (unsigned i = 0; i < THIN_SHARDS; i++)
		CHECK(pthread_rwlock_destroy(&l->shard[i].rw));
}

void thin_sharded_read(struct thin_sharded_lock *l) THIN_NO_THREAD_SAFETY
{
	CHECK(pthread_rwlock_rdlock(&l->shard[thin_shard()].rw));
}

void thin_sharded_read_end(struct thin_sharded_lock *l) THIN_NO_THREAD_SAFETY
{
	CHECK(pthread_rwlock_unlock(&l->shard[thin_shard()].rw));
}

void thin_sharded_write(struct thin_sharded_lock *l) THIN_NO_THREAD_SAFETY
{
	for (unsigned i = 0; i < THIN_SHARDS; i++)
		CHECK(pthread_rwlock_wrlock(&l->shard[i].rw));
}

void thin_sharded_write_end(struct thin_sharded_lock *l) THIN_NO_THREAD_SAFETY
{
	for (unsigned i = THIN_SHARDS; i-- > 0;)
		CHECK(pthread_rwlock_unlock(&l->shard[i].rw));
}
