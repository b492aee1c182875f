/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_LOCK_H
#define THINBD_UTIL_LOCK_H

/*
 * Locks that clang's -Wthread-safety can check.  The order in which they
 * are taken stands in docs/locking.md, in one table.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define THIN_ANNOTATE(x) __attribute__((x))
#else
#define THIN_ANNOTATE(x)
#endif

/*
 * Clang (as of 14) can not resolve the name of a neighbouring member in C,
 * so what guards a member is for the reader; what is checked are the
 * functions that want a lock.
 */
#define THIN_GUARDED_BY(lock)

#define THIN_CAPABILITY(name)	  THIN_ANNOTATE(capability(name))
#define THIN_REQUIRES(...)	  THIN_ANNOTATE(requires_capability(__VA_ARGS__))
#define THIN_REQUIRES_SHARED(...) THIN_ANNOTATE(requires_shared_capability(__VA_ARGS__))
#define THIN_EXCLUDES(...)	  THIN_ANNOTATE(locks_excluded(__VA_ARGS__))
#define THIN_ACQUIRE(...)	  THIN_ANNOTATE(acquire_capability(__VA_ARGS__))
#define THIN_RELEASE(...)	  THIN_ANNOTATE(release_capability(__VA_ARGS__))
#define THIN_ACQUIRE_SHARED(...)  THIN_ANNOTATE(acquire_shared_capability(__VA_ARGS__))
#define THIN_RELEASE_SHARED(...)  THIN_ANNOTATE(release_shared_capability(__VA_ARGS__))
#define THIN_NO_THREAD_SAFETY	  THIN_ANNOTATE(no_thread_safety_analysis)

/* A plain mutex. */
struct THIN_CAPABILITY("mutex") thin_mutex {
	pthread_mutex_t m;
};

#define THIN_MUTEX_INIT                                                                  \
	{                                                                                \
		PTHREAD_MUTEX_INITIALIZER                                                \
	}

void thin_mutex_init(struct thin_mutex *m);
void thin_mutex_fini(struct thin_mutex *m);
void thin_mutex_lock(struct thin_mutex *m) THIN_ACQUIRE(m);
void thin_mutex_unlock(struct thin_mutex *m) THIN_RELEASE(m);

/* A condition variable on the monotonic clock. */
struct thin_cond {
	pthread_cond_t c;
};

void thin_cond_init(struct thin_cond *c);
void thin_cond_fini(struct thin_cond *c);
void thin_cond_wait(struct thin_cond *c, struct thin_mutex *m) THIN_REQUIRES(m);
/* False when @deadline_ns (of thin_now_ns()) passed without a wake-up. */
bool thin_cond_wait_until(struct thin_cond *c, struct thin_mutex *m, uint64_t deadline_ns)
	THIN_REQUIRES(m);
void thin_cond_broadcast(struct thin_cond *c);

/* Nanoseconds of the monotonic clock. */
uint64_t thin_now_ns(void);

/*
 * A reader-writer lock whose readers do not meet.
 *
 * Each reader takes one of several small locks, on a cache line of its own,
 * by the thread it runs in; a writer takes them all, in order.  Reading
 * costs one uncontended lock however many readers there are; writing costs
 * THIN_SHARDS of them.  Made for data that is read by every request and
 * changed rarely and shortly.  Not recursive.
 */
#define THIN_SHARDS 16

/* The calling thread's shard, the same each time: below THIN_SHARDS. */
unsigned thin_shard(void);

struct THIN_CAPABILITY("sharded lock") thin_sharded_lock {
	struct {
		pthread_rwlock_t rw;
	} __attribute__((aligned(128))) shard[THIN_SHARDS];
};

void thin_sharded_init(struct thin_sharded_lock *l);
void thin_sharded_fini(struct thin_sharded_lock *l);
void thin_sharded_read(struct thin_sharded_lock *l) THIN_ACQUIRE_SHARED(l);
void thin_sharded_read_end(struct thin_sharded_lock *l) THIN_RELEASE_SHARED(l);
void thin_sharded_write(struct thin_sharded_lock *l) THIN_ACQUIRE(l);
void thin_sharded_write_end(struct thin_sharded_lock *l) THIN_RELEASE(l);

#endif
