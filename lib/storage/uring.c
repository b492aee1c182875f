/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/uring.h"

#include "util/limits.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>

/*
 * A ring is used by one call at a time, from its first submission to its
 * last completion: so nobody waits for anybody else's I/O, and a completion
 * can hold a plain index.  Idle rings stand in a stack, the warmest on top,
 * so there are as many as calls have been under way at once.  (One per
 * thread would save the stack's lock, which is not to be seen beside two
 * system calls, and would leave rings behind in threads that are not ours.)
 *
 *   [U1] A call returns only when none of its I/O is in flight: the buffers
 *        are the caller's.
 *   [U2] A ring that did not take all of a submission is not used again:
 *        what was left in it would go out with the next call's.
 */

struct ring {
	struct io_uring uring;
	struct ring *next;
};

struct thin_rings {
	struct thin_mutex lock;
	struct ring *idle THIN_GUARDED_BY(lock);
	unsigned nr THIN_GUARDED_BY(lock); /* idle or not */
};

static struct ring *ring_create(void)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	int r;

	if (!ring)
		return NULL;
	/* Completions wait until we look for them; since Linux 5.19. */
	r = io_uring_queue_init(THIN_BATCH_RUNS, &ring->uring, IORING_SETUP_COOP_TASKRUN);
	if (r == -EINVAL)
		r = io_uring_queue_init(THIN_BATCH_RUNS, &ring->uring, 0);
	if (r) {
		free(ring);
		return NULL;
	}
	return ring;
}

static void ring_destroy(struct ring *ring)
{
	io_uring_queue_exit(&ring->uring);
	free(ring);
}

/* An idle ring, or a new one, or NULL. */
static struct ring *ring_get(struct thin_rings *rings)
{
	struct ring *ring;
	bool more;

	thin_mutex_lock(&rings->lock);
	ring = rings->idle;
	more = !ring && rings->nr < THIN_MAX_RINGS;
	if (ring)
		rings->idle = ring->next;
	else
		rings->nr += more;
	thin_mutex_unlock(&rings->lock);
	if (!more)
		return ring;
	ring = ring_create();
	if (!ring) {
		thin_mutex_lock(&rings->lock);
		rings->nr--;
		thin_mutex_unlock(&rings->lock);
	}
	return ring;
}

static void ring_put(struct thin_rings *rings, struct ring *ring, bool usable)
{
	thin_mutex_lock(&rings->lock);
	if (usable) {
		ring->next = rings->idle;
		rings->idle = ring;
	} else {
		rings->nr--;
	}
	thin_mutex_unlock(&rings->lock);
	if (!usable)
		ring_destroy(ring);
}

/* Returns how many of the first of @nr runs went out. */
static size_t submit(struct io_uring *uring, int fd, bool write, struct thin_run *run,
		     size_t nr)
{
	size_t out = 0;

	for (size_t i = 0; i < nr; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(uring);

		assert(sqe); /* [U2] it was empty, and has room for a batch */
		if (write)
			io_uring_prep_writev(sqe, fd, run[i].iov, (unsigned)run[i].nr_iov,
					     run[i].offset);
		else
			io_uring_prep_readv(sqe, fd, run[i].iov, (unsigned)run[i].nr_iov,
					    run[i].offset);
		io_uring_sqe_set_data64(sqe, i);
	}
	while (out < nr) {
		int r = io_uring_submit_and_wait(uring, (unsigned)(nr - out));

		if (r == -EINTR)
			continue;
		if (r <= 0)
			break;
		out += (size_t)r;
	}
	return out;
}

/* What a completion left to do is done the plain way. */
static int finish(int fd, bool write, struct thin_run *run, int result)
{
	if (!result)
		return -EIO; /* the end of the file */
	if (result < 0 && result != -EAGAIN && result != -EINTR)
		return result;
	if (result > 0)
		thin_run_advance(run, (size_t)result);
	return thin_run_transfer(fd, write, run);
}

/* Wait for @nr completions [U1]. */
static int reap(struct io_uring *uring, int fd, bool write, struct thin_run *run,
		size_t nr)
{
	int first = 0;

	for (size_t i = 0; i < nr; i++) {
		struct io_uring_cqe *cqe;
		struct thin_run *done;
		int r, result;

		while (io_uring_wait_cqe(uring, &cqe))
			;
		done = &run[io_uring_cqe_get_data64(cqe)];
		result = cqe->res;
		io_uring_cqe_seen(uring, cqe);
		r = finish(fd, write, done, result);
		if (!first)
			first = r;
	}
	return first;
}

bool thin_rings_transfer(struct thin_rings *rings, int fd, bool write,
			 struct thin_run *run, size_t nr, int *ret)
{
	struct ring *ring = ring_get(rings);
	size_t out;
	int first;

	assert(nr && nr <= THIN_BATCH_RUNS);
	if (!ring)
		return false;
	out = submit(&ring->uring, fd, write, run, nr);
	first = reap(&ring->uring, fd, write, run, out);
	ring_put(rings, ring, out == nr);
	for (; out < nr && !first; out++)
		first = thin_run_transfer(fd, write, &run[out]);
	*ret = first;
	return true;
}

struct thin_rings *thin_rings_create(void)
{
	struct thin_rings *rings = malloc(sizeof(*rings));
	struct ring *first = ring_create();

	if (!rings || !first) {
		if (first)
			ring_destroy(first);
		free(rings);
		return NULL;
	}
	*rings = (struct thin_rings){.idle = first, .nr = 1};
	thin_mutex_init(&rings->lock);
	return rings;
}

void thin_rings_destroy(struct thin_rings *rings)
{
	struct ring *ring;

	if (!rings)
		return;
	while ((ring = rings->idle)) {
		rings->idle = ring->next;
		rings->nr--;
		ring_destroy(ring);
	}
	assert(!rings->nr);
	thin_mutex_fini(&rings->lock);
	free(rings);
}

bool thin_storage_has_io_uring(void)
{
	struct ring *ring = ring_create();

	if (ring)
		ring_destroy(ring);
	return ring;
}
