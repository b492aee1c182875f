/* SPDX-License-Identifier: BSD-3-Clause */
#include "scratch.h"
#include "storage_model.h"

#include "storage/uring.h"
#include "util/limits.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>

#define CREATE THIN_STORAGE_CREATE
#define DIRECT THIN_STORAGE_DIRECT
#define KIB    UINT64_C(1024)
#define MIB    (KIB * KIB)

/* liburing passes through here, where it can be made to refuse or do less. */
static struct {
	atomic_int setup_error;
	bool old_kernel;     /* that knows no flags */
	bool cut;	     /* leave one vector to each request */
	bool bad_fd;	     /* one request of each batch fails */
	atomic_uint swallow; /* so many requests are not taken, once */
	atomic_bool starve;  /* ... and nothing more from that ring */
	atomic_bool hold;    /* submissions wait */
	atomic_int setups, exits, submits;
} fault;

static int fault_reset(void **state)
{
	(void)state;
	memset(&fault, 0, sizeof(fault));
	return 0;
}

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	int (*real)(unsigned, struct io_uring *, unsigned) =
		(int (*)(unsigned, struct io_uring *, unsigned))dlsym(RTLD_NEXT,
								      __func__);

	fault.setups++;
	if (fault.old_kernel && flags)
		return -EINVAL;
	return fault.setup_error ? fault.setup_error : real(entries, ring, flags);
}

void io_uring_queue_exit(struct io_uring *ring)
{
	void (*real)(struct io_uring *) =
		(void (*)(struct io_uring *))dlsym(RTLD_NEXT, __func__);

	fault.exits++;
	real(ring);
}

static void tamper(struct io_uring *ring)
{
	struct io_uring_sq *sq = &ring->sq;

	for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];

		if (fault.cut)
			sqe->len = 1;
		if (fault.bad_fd && i == sq->sqe_tail - 1)
			sqe->fd = -1;
	}
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
	int (*real)(struct io_uring *, unsigned) =
		(int (*)(struct io_uring *, unsigned))dlsym(RTLD_NEXT, __func__);
	unsigned hidden = atomic_exchange(&fault.swallow, 0);
	int r;

	fault.submits++;
	while (fault.hold)
		usleep(1000);
	if (fault.starve)
		return -EAGAIN;
	tamper(ring);
	ring->sq.sqe_tail -= hidden;
	r = real(ring, wait_nr - hidden);
	ring->sq.sqe_tail += hidden;
	if (hidden)
		fault.starve = true;
	return r;
}

static struct thin_storage *make(uint64_t size, unsigned flags)
{
	struct thin_storage *s = NULL;
	struct thin_error e;
	int r;

	(void)unlink(scratch("f"));
	r = thin_storage_open_file(scratch("f"), flags | CREATE, &s, &e);
	if (r == -ENOTSUP && flags & DIRECT)
		skip();
	if (r)
		fail_msg("%s", e.text);
	assert_int_equal(thin_storage_resize(s, size), 0);
	return s;
}

/* As make(), started; skips the test where the kernel has no io_uring. */
static struct thin_storage *make_started(uint64_t size, unsigned flags)
{
	struct thin_storage *s = make(size, flags);

	assert_int_equal(thin_storage_start(s), 0);
	if (!thin_file_of(s)->rings) {
		thin_storage_close(s);
		skip();
	}
	return s;
}

/* @nr segments of 4 KiB that do not touch. */
static void scatter(struct thin_segment *seg, size_t nr, uint8_t *buf)
{
	for (size_t i = 0; i < nr; i++)
		seg[i] = (struct thin_segment){i * 8192, buf + i * 4096, 4096};
}

static void equals_plain_memory(void **state)
{
	static const uint64_t aligns[] = {1, 512, 4096};
	struct seeded rnd = seeded_start(__func__);

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(aligns); i++) {
		struct thin_storage *s = make_started(MIB, i % 2 ? DIRECT : 0);

		model_run(s, rnd, aligns[i / 2], 60);
		thin_storage_close(s);
	}
	assert_true(fault.submits > 0);
	assert_int_equal(fault.setups, fault.exits);
}

static void short_completions_are_finished(void **state)
{
	struct seeded rnd = seeded_start(__func__);
	struct thin_storage *s = make_started(MIB, DIRECT);

	(void)state;
	fault.cut = true;
	model_run(s, rnd, 4096, 60);
	assert_true(fault.submits > 0);
	thin_storage_close(s);
}

/* When it pays, and when plain calls are faster. */
static void used_for_what_waits_for_a_disk(void **state)
{
	struct thin_storage *s = make_started(MIB, 0);
	static uint8_t b[64 * 4096];
	struct thin_segment seg[64];

	(void)state;
	scatter(seg, 64, b);
	assert_int_equal(thin_storage_read(s, seg, 1), 0);
	assert_int_equal(thin_storage_write(s, seg, 64), 0);
	assert_int_equal(fault.submits, 0);
	assert_int_equal(thin_storage_read(s, seg, 64), 0);
	assert_int_equal(fault.submits, 1);
	thin_storage_close(s);
	s = make_started(MIB, DIRECT);
	assert_int_equal(thin_storage_write(s, seg, 1), 0);
	assert_int_equal(fault.submits, 1);
	assert_int_equal(thin_storage_write(s, seg, 64), 0);
	assert_int_equal(fault.submits, 2);
	thin_storage_close(s);
}

/* A ring made before a fork would be shared with a process that is gone. */
static void no_ring_before_start(void **state)
{
	struct thin_storage *s = make(MIB, 0);
	static uint8_t b[4 * 4096];
	struct thin_segment seg[4];

	(void)state;
	scatter(seg, 4, b);
	assert_int_equal(thin_storage_read(s, seg, 4), 0);
	assert_int_equal(fault.setups, 0);
	thin_storage_close(s);
}

static void sync_means_no_ring(void **state)
{
	struct thin_storage *s = make(MIB, THIN_STORAGE_SYNC);

	(void)state;
	assert_int_equal(thin_storage_start(s), 0);
	model_run(s, seeded_start(__func__), 1, 20);
	assert_int_equal(fault.setups, 0);
	thin_storage_close(s);
}

static void refused_by_the_kernel(void **state)
{
	static const int errors[] = {-EPERM, -ENOSYS, -ENOMEM};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		struct thin_storage *s = make(MIB / 4, 0);

		fault.setup_error = errors[i];
		assert_int_equal(thin_storage_start(s), 0);
		assert_null(thin_file_of(s)->rings);
		assert_false(thin_storage_has_io_uring());
		model_run(s, seeded_start(__func__), 1, 20);
		thin_storage_close(s);
	}
	assert_int_equal(fault.submits, 0);
}

static void is_told_of(void **state)
{
	struct thin_storage *s = make_started(MIB, 0);

	(void)state;
	assert_true(thin_storage_has_io_uring());
	thin_storage_close(s);
	assert_int_equal(fault.setups, fault.exits);
}

static void an_error_comes_through(void **state)
{
	struct thin_storage *s = make_started(MIB, 0);
	static uint8_t b[8 * 4096];
	struct thin_segment seg[8];

	(void)state;
	scatter(seg, 8, b);
	fault.bad_fd = true;
	assert_int_equal(thin_storage_read(s, seg, 8), -EBADF);
	fault.bad_fd = false;
	assert_int_equal(thin_storage_read(s, seg, 8), 0);
	thin_storage_close(s);
}

static void an_end_that_vanished_is_eio(void **state)
{
	static const off_t sizes[] = {7 * 8192 + 100, 7 * 8192, 100};
	static uint8_t b[8 * 4096];
	struct thin_segment seg[8];

	(void)state;
	scatter(seg, 8, b);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct thin_storage *s = make_started(MIB, 0);

		assert_int_equal(thin_storage_read(s, seg, 8), 0);
		assert_int_equal(truncate(scratch("f"), sizes[i]), 0);
		assert_int_equal(thin_storage_read(s, seg, 8), -EIO);
		thin_storage_close(s);
	}
}

/* [U2] The kernel is short of memory: the rest goes out the plain way. */
static void what_a_ring_does_not_take(void **state)
{
	struct thin_storage *s = make_started(MIB, 0);
	static uint8_t b[8 * 4096], pattern[MIB];
	struct thin_segment seg[8];

	(void)state;
	for (size_t i = 0; i < MIB; i++)
		pattern[i] = (uint8_t)(i / 4096 + 1);
	assert_int_equal(thin_storage_write_at(s, 0, pattern, MIB), 0);
	scatter(seg, 8, b);
	fault.swallow = 3;
	assert_int_equal(thin_storage_read(s, seg, 8), 0);
	for (size_t i = 0; i < 8; i++)
		assert_memory_equal(seg[i].buf, pattern + seg[i].offset, 4096);
	assert_int_equal(fault.exits, 1);
	fault.starve = false;
	memset(b, 0, sizeof(b));
	assert_int_equal(thin_storage_read(s, seg, 8), 0);
	for (size_t i = 0; i < 8; i++)
		assert_memory_equal(seg[i].buf, pattern + seg[i].offset, 4096);
	thin_storage_close(s);
	assert_int_equal(fault.setups, fault.exits);
}

static void *read_much(void *arg)
{
	struct thin_segment seg[16];
	uint8_t *b = malloc(16 * 4096);
	void *bad = NULL;

	scatter(seg, 16, b);
	for (int i = 0; i < 50 && !bad; i++) {
		memset(b, 0, 16 * 4096);
		if (thin_storage_read(arg, seg, 16))
			bad = arg;
		for (size_t k = 0; k < 16; k++)
			if (b[k * 4096] != k * 2 + 1 || b[k * 4096 + 4095] != k * 2 + 1)
				bad = arg;
	}
	free(b);
	return bad;
}

static void many_threads_at_once(void **state)
{
	struct thin_storage *s = make_started(32 * 4096, 0);
	pthread_t t[12];

	(void)state;
	for (uint64_t i = 0; i < 32; i++) {
		uint8_t b[4096];

		memset(b, (int)i + 1, sizeof(b));
		assert_int_equal(thin_storage_write_at(s, i * 4096, b, sizeof(b)), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_create(&t[i], NULL, read_much, s);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		void *bad;

		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_true(fault.setups <= (int)ARRAY_LEN(t));
	thin_storage_close(s);
	assert_int_equal(fault.setups, fault.exits);
}

static void *read_once(void *arg)
{
	static _Thread_local uint8_t b[2 * 4096];
	struct thin_segment seg[2];

	scatter(seg, 2, b);
	return thin_storage_read(arg, seg, 2) ? arg : NULL;
}

/* All rings are taken: the next caller does without, and waits for nobody. */
static void limit_of_rings(void **state)
{
	struct thin_storage *s = make_started(MIB, 0);
	pthread_t t[THIN_MAX_RINGS];

	(void)state;
	fault.hold = true;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_create(&t[i], NULL, read_once, s);
	while (fault.submits < THIN_MAX_RINGS)
		usleep(1000);
	assert_null(read_once(s));
	assert_int_equal(fault.setups, THIN_MAX_RINGS);
	assert_int_equal(fault.submits, THIN_MAX_RINGS);
	fault.hold = false;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		void *bad;

		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	thin_storage_close(s);
	assert_int_equal(fault.setups, fault.exits);
}

static void a_second_ring_is_refused(void **state)
{
	struct thin_storage *s = make_started(MIB, 0);
	pthread_t t;
	void *bad;

	(void)state;
	fault.hold = true;
	pthread_create(&t, NULL, read_once, s); /* has the only one */
	while (!fault.submits)
		usleep(1000);
	fault.setup_error = -ENOMEM;
	assert_null(read_once(s));
	assert_int_equal(fault.submits, 1);
	fault.hold = false;
	pthread_join(t, &bad);
	assert_null(bad);
	assert_null(read_once(s)); /* it is idle again */
	assert_int_equal(fault.submits, 2);
	thin_storage_close(s);
	assert_int_equal(fault.exits, 1);
}

static void an_old_kernel_will_do(void **state)
{
	struct thin_storage *s;

	(void)state;
	fault.old_kernel = true;
	s = make_started(MIB, 0);
	assert_null(read_once(s));
	assert_int_equal(fault.submits, 1);
	thin_storage_close(s);
}

#define RESET(fn) cmocka_unit_test_setup(fn, fault_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RESET(equals_plain_memory),
		RESET(short_completions_are_finished),
		RESET(used_for_what_waits_for_a_disk),
		RESET(no_ring_before_start),
		RESET(sync_means_no_ring),
		RESET(refused_by_the_kernel),
		RESET(is_told_of),
		RESET(an_error_comes_through),
		RESET(an_end_that_vanished_is_eio),
		RESET(what_a_ring_does_not_take),
		RESET(many_threads_at_once),
		RESET(limit_of_rings),
		RESET(a_second_ring_is_refused),
		RESET(an_old_kernel_will_do),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
