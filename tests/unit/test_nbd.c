/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbdkit.h"
#include "storage_model.h"

#include "util/limits.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#define RO  THIN_STORAGE_READONLY
#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

static struct thin_error error;

/* An empty sparse file of @size to be served. */
static const char *backing(uint64_t size)
{
	int fd = open(scratch("disk"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	return scratch("disk");
}

static struct thin_storage *connect_to(const char *uri, unsigned flags)
{
	struct thin_storage *s = NULL;

	if (thin_storage_open(uri, flags, &s, &error))
		fail_msg("%s", error.text);
	return s;
}

static void equals_plain_memory(void **state)
{
	struct seeded rnd = seeded_start(__func__);
	struct thin_storage *s;

	(void)state;
	serve(NBDKIT("file", backing(MIB)));
	s = connect_to(nbdkit_uri(), 0);
	model_run(s, rnd, 1, 150);
	thin_storage_close(s);
}

/* The server insists on whole blocks and small requests; we do not. */
static void equals_plain_memory_in_blocks(void **state)
{
	struct seeded rnd = seeded_start(__func__);
	struct thin_storage *s;

	(void)state;
	serve(NBDKIT("--filter=blocksize-policy", "file", backing(MIB),
		     "blocksize-minimum=4096", "blocksize-preferred=4096",
		     "blocksize-maximum=8192", "blocksize-error-policy=error"));
	s = connect_to(nbdkit_uri(), 0);
	model_run(s, rnd, 1, 60);
	thin_storage_close(s);
}

/* Without zero, trim, flush and extents. */
static void equals_plain_memory_on_a_poor_server(void **state)
{
	struct seeded rnd = seeded_start(__func__);
	struct thin_storage *s;

	(void)state;
	serve(NBDKIT("--no-sr", "--filter=nozero", "split", backing(MIB)));
	s = connect_to(nbdkit_uri(), 0);
	model_run(s, rnd, 1, 60);
	assert_int_equal(thin_storage_punch(s, 0, 4096), -ENOTSUP);
	thin_storage_close(s);
}

static void what_the_server_tells(void **state)
{
	struct thin_identity id;
	struct thin_storage *s;
	uint64_t size;

	(void)state;
	serve(NBDKIT("memory", "12345"));
	s = connect_to(nbdkit_uri(), 0);
	assert_int_equal(thin_storage_size(s, &size), 0);
	assert_int_equal(size, 12345);
	assert_int_equal(thin_storage_identity(s, &id), 0);
	assert_true(id.size == 12345 && !id.inode && !id.mtime_ns && !id.ctime_ns);
	assert_int_equal(thin_storage_resize(s, 20000), -ENOTSUP);
	assert_int_equal(thin_storage_write_at(s, 12344, "xy", 2), -EIO);
	thin_storage_close(s);
}

/* --- refusals ---------------------------------------------------------- */

static void nobody_there(void **state)
{
	struct thin_storage *s = NULL;

	(void)state;
	(void)unlink(scratch("sock"));
	assert_int_equal(thin_storage_open(nbdkit_uri(), RO, &s, &error), -EIO);
	assert_has(error.text, nbdkit_uri());
	assert_has(error.text, "No such file");
	assert_has(error.text, "check that the server runs");
	assert_int_equal(thin_storage_open("nbd://127.0.0.1:1/", RO, &s, &error), -EIO);
	assert_has(error.text, "refused");
	assert_int_equal(thin_storage_open("nbd+unix:///", RO, &s, &error), -EIO);
	assert_int_equal(thin_storage_open("nbd+unix:///?socket=/x", RO, &s, NULL), -EIO);
	assert_null(s);
}

static void no_such_export(void **state)
{
	struct thin_storage *s = NULL;
	char uri[500];

	(void)state;
	serve(NBDKIT("--filter=exportname", "memory", "1M", "exportname-strict=true",
		     "exportname=disk"));
	snprintf(uri, sizeof(uri), "nbd+unix:///other?socket=%s", scratch("sock"));
	assert_int_equal(thin_storage_open(uri, RO, &s, &error), -EIO);
	assert_has(error.text, "other");
	snprintf(uri, sizeof(uri), "nbd+unix:///disk?socket=%s", scratch("sock"));
	thin_storage_close(connect_to(uri, RO));
}

static void no_tls_where_it_is_wanted(void **state)
{
	struct thin_storage *s = NULL;
	char uri[500];

	(void)state;
	serve(NBDKIT("--tls=off", "memory", "1M"));
	snprintf(uri, sizeof(uri), "nbds+unix:///?socket=%s", scratch("sock"));
	assert_int_equal(thin_storage_open(uri, RO, &s, &error), -EIO);
	assert_has(error.text, "TLS");
}

static void readonly_server(void **state)
{
	struct thin_storage *s = NULL;

	(void)state;
	serve(NBDKIT("-r", "memory", "1M"));
	assert_int_equal(thin_storage_open(nbdkit_uri(), 0, &s, &error), -EROFS);
	assert_has(error.text, "read-write");
	assert_null(s);
	s = connect_to(nbdkit_uri(), RO);
	assert_int_equal(thin_storage_write_at(s, 0, "x", 1), -EROFS);
	assert_int_equal(thin_storage_zero(s, 0, 1), -EROFS);
	assert_int_equal(thin_storage_punch(s, 0, 1), -EROFS);
	assert_int_equal(thin_storage_flush(s), 0);
	thin_storage_close(s);
}

static void server_errors(void **state)
{
	struct thin_storage *s;
	static char file[320];
	char b[16] = "";

	(void)state;
	(void)unlink(scratch("on"));
	snprintf(file, sizeof(file), "error-file=%s", scratch("on"));
	serve(NBDKIT("--filter=error", "memory", "1M", "error=EPERM",
		     "error-pwrite=ENOSPC", "error-rate=100%", file));
	s = connect_to(nbdkit_uri(), 0);
	assert_int_equal(thin_storage_write_at(s, 0, b, 16), 0);
	close(open(scratch("on"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(thin_storage_write_at(s, 0, b, 16), -ENOSPC);
	assert_int_equal(thin_storage_read_at(s, 0, b, 16), -EIO);
	assert_int_equal(thin_storage_zero(s, 0, 16), -EIO);
	(void)unlink(scratch("on"));
	assert_int_equal(thin_storage_read_at(s, 0, b, 16), 0);
	thin_storage_close(s);
}

/* --- space ------------------------------------------------------------- */

struct list {
	struct thin_segment e[16];
	enum thin_extent_type type[16];
	size_t nr;
};

static int add_extent(void *ctx, uint64_t offset, uint64_t len,
		      enum thin_extent_type type)
{
	struct list *l = ctx;

	assert_true(l->nr < 16);
	l->type[l->nr] = type;
	l->e[l->nr++] = (struct thin_segment){.offset = offset, .len = len};
	return 0;
}

static void extents(void **state)
{
	static uint8_t b[64 * 1024];
	struct list l = {.nr = 0};
	struct thin_storage *s;

	(void)state;
	memset(b, 1, sizeof(b));
	serve(NBDKIT("memory", "64G"));
	s = connect_to(nbdkit_uri(), 0);
	assert_int_equal(thin_storage_write_at(s, 256 * KIB, b, sizeof(b)), 0);
	assert_int_equal(thin_storage_extents(s, 4 * KIB + 1, 2048 * MIB, add_extent, &l),
			 0);
	assert_int_equal(l.nr, 3);
	assert_int_equal(l.e[0].offset, 4 * KIB + 1);
	assert_int_equal(l.e[1].offset, 256 * KIB);
	assert_int_equal(l.e[1].len, 64 * KIB);
	assert_true(l.type[0] == THIN_EXTENT_ZERO && l.type[1] == THIN_EXTENT_DATA);
	assert_true(l.type[2] == THIN_EXTENT_ZERO);
	/* Longer than a request can say, and one piece all the same. */
	assert_true(l.e[2].offset + l.e[2].len == 4 * KIB + 1 + 2048 * MIB);
	thin_storage_close(s);
}

static void extents_in_blocks(void **state)
{
	static uint8_t b[8 * 1024];
	struct list l = {.nr = 0};
	struct thin_storage *s;

	(void)state;
	memset(b, 1, sizeof(b));
	serve(NBDKIT("--filter=blocksize-policy", "memory", "1M",
		     "blocksize-minimum=32768", "blocksize-preferred=32768",
		     "blocksize-error-policy=error"));
	s = connect_to(nbdkit_uri(), 0);
	assert_int_equal(thin_storage_write_at(s, 300 * KIB, b, sizeof(b)), 0);
	assert_int_equal(thin_storage_extents(s, 301 * KIB, KIB, add_extent, &l), 0);
	assert_true(l.nr == 1 && l.type[0] == THIN_EXTENT_DATA);
	assert_true(l.e[0].offset == 301 * KIB && l.e[0].len == KIB);
	l.nr = 0;
	assert_int_equal(thin_storage_extents(s, 1, 300 * KIB, add_extent, &l), 0);
	assert_true(l.nr == 2 && l.e[0].offset == 1 && l.type[0] == THIN_EXTENT_ZERO);
	assert_true(l.e[1].offset == 288 * KIB && l.e[1].len == 12 * KIB + 1);
	thin_storage_close(s);
}

/* A hole that nobody says is zero may hold anything: it has to be read. */
static void holes_of_unknown_content_are_data(void **state)
{
	struct list l = {.nr = 0};
	struct thin_storage *s;

	(void)state;
	serve(NBDKIT("eval", "get_size=echo 1M", "pread=exit 1", "can_extents=exit 0",
		     "extents=echo 0 512K hole; echo 512K 256K zero; "
		     "echo 768K 256K hole,zero"));
	s = connect_to(nbdkit_uri(), RO);
	assert_int_equal(thin_storage_extents(s, 0, MIB, add_extent, &l), 0);
	assert_int_equal(l.nr, 2);
	assert_true(l.type[0] == THIN_EXTENT_DATA && l.e[0].len == MIB / 2);
	assert_true(l.type[1] == THIN_EXTENT_ZERO && l.e[1].len == MIB / 2);
	thin_storage_close(s);
}

static int check_stripe(void *ctx, uint64_t offset, uint64_t len,
			enum thin_extent_type type)
{
	uint64_t *next = ctx;

	assert_true(offset == *next && len == 256);
	assert_int_equal(type, offset / 256 % 2 ? THIN_EXTENT_ZERO : THIN_EXTENT_DATA);
	*next += len;
	return 0;
}

/* More of them than one answer has room for (THIN_MAX_EXTENTS). */
static void very_many_extents(void **state)
{
	struct thin_storage *s;
	uint64_t next = 0;

	(void)state;
	serve(NBDKIT("eval", "get_size=echo 1M", "pread=exit 1", "can_extents=exit 0",
		     "extents=seq 0 4095 | "
		     "awk '{ print $1 * 256, 256, $1 % 2 ? \"zero\" : \"\" }'"));
	s = connect_to(nbdkit_uri(), RO);
	assert_int_equal(thin_storage_extents(s, 0, MIB, check_stripe, &next), 0);
	assert_true(next == MIB);
	thin_storage_close(s);
}

/* Pieces finer than the blocks in which we may ask. */
static void extents_finer_than_blocks(void **state)
{
	struct thin_storage *s;
	uint64_t next = 1280;

	(void)state;
	serve(NBDKIT("eval", "get_size=echo 1M", "pread=exit 1", "can_extents=exit 0",
		     "block_size=echo 4096 4096 1M",
		     "extents=seq 0 4095 | "
		     "awk '{ print $1 * 256, 256, $1 % 2 ? \"zero\" : \"\" }'"));
	s = connect_to(nbdkit_uri(), RO);
	assert_int_equal(thin_storage_extents(s, next, 2560, check_stripe, &next), 0);
	assert_true(next == 1280 + 2560);
	thin_storage_close(s);
}

static uint64_t allocated(void)
{
	struct stat st;

	assert_int_equal(stat(scratch("disk"), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void zero_and_punch(void **state)
{
	static uint8_t b[MIB];
	struct thin_storage *s;
	uint64_t full;

	(void)state;
	serve(NBDKIT("file", backing(MIB)));
	s = connect_to(nbdkit_uri(), 0);
	memset(b, 1, MIB);
	assert_int_equal(thin_storage_write_at(s, 0, b, MIB), 0);
	assert_int_equal(thin_storage_flush(s), 0);
	full = allocated();
	assert_int_equal(thin_storage_zero(s, 0, MIB / 2), 0);
	assert_true(allocated() >= full);
	assert_int_equal(thin_storage_punch(s, 0, MIB / 2), 0);
	assert_true(allocated() <= full - MIB / 2);
	thin_storage_close(s);
}

/* --- many at once ------------------------------------------------------ */

static void *check_pattern(void *arg)
{
	uint8_t b[16][512];
	struct thin_segment seg[16];

	for (uint64_t i = 0; i < 60; i++) {
		for (uint64_t k = 0; k < 16; k++)
			seg[k] = (struct thin_segment){(i + 61 * k) % 2048 * 512, b[k],
						       512};
		if (thin_storage_read(arg, seg, 16))
			return arg;
		for (uint64_t k = 0; k < 16; k++)
			for (size_t x = 0; x < 512; x++)
				if (b[k][x] != (uint8_t)((i + 61 * k) % 2048 % 251))
					return arg;
	}
	return NULL;
}

static void write_pattern(struct thin_storage *s)
{
	uint8_t b[512];

	for (uint64_t i = 0; i < 2048; i++) {
		memset(b, (int)(i % 251), sizeof(b));
		assert_int_equal(thin_storage_write_at(s, i * 512, b, sizeof(b)), 0);
	}
}

static void run_readers(struct thin_storage *s)
{
	pthread_t t[12];
	void *bad;

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_create(&t[i], NULL, check_pattern, s);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
}

/* Over one connection, and over several. */
static void many_threads(void **state)
{
	struct thin_storage *s;

	(void)state;
	serve(NBDKIT("memory", "1M"));
	s = connect_to(nbdkit_uri(), 0);
	write_pattern(s);
	run_readers(s);
	thin_storage_close(s);
	s = connect_to(nbdkit_uri(), RO);
	assert_int_equal(thin_storage_start(s), 0);
	run_readers(s);
	thin_storage_close(s);
}

static int count_in_log(const char *word)
{
	FILE *f = fopen(scratch("log"), "r");
	char line[500];
	int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, word) != NULL;
	fclose(f);
	return n;
}

/* One where one is enough; several for several threads that only read. */
static void how_many_connections(void **state)
{
	static char logfile[320];
	struct thin_storage *s;

	(void)state;
	snprintf(logfile, sizeof(logfile), "logfile=%s", scratch("log"));
	serve(NBDKIT("--filter=log", "memory", "1M", logfile));
	s = connect_to(nbdkit_uri(), 0);
	assert_int_equal(thin_storage_start(s), 0);
	write_pattern(s);
	run_readers(s);
	thin_storage_close(s);
	assert_int_equal(count_in_log(" Connect "), 2); /* before start(), and after */
	s = connect_to(nbdkit_uri(), RO);
	assert_int_equal(thin_storage_start(s), 0);
	run_readers(s);
	thin_storage_close(s);
	assert_in_range(count_in_log(" Connect "), 5, 3 + THIN_NBD_CONNECTIONS);
}

static void *write_own_bytes(void *arg)
{
	static atomic_uint next;
	unsigned mine = atomic_fetch_add(&next, 1);

	for (unsigned i = 1; i <= 50; i++) {
		uint8_t b[100], back[100];

		memset(b, (int)i, sizeof(b));
		if (thin_storage_write_at(arg, 100 * mine, b, 100) ||
		    thin_storage_read_at(arg, 100 * mine, back, 100) ||
		    memcmp(b, back, 100))
			return arg;
	}
	return NULL;
}

/* [N1] All in one block of the server's. */
static void unaligned_writers_do_not_undo_each_other(void **state)
{
	struct thin_storage *s;
	pthread_t t[6];
	void *bad;

	(void)state;
	serve(NBDKIT("--filter=blocksize-policy", "memory", "1M",
		     "blocksize-minimum=4096", "blocksize-preferred=4096",
		     "blocksize-error-policy=error"));
	s = connect_to(nbdkit_uri(), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_create(&t[i], NULL, write_own_bytes, s);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	thin_storage_close(s);
}

/* Opened and checked by the parent, used by the child. */
static void start_after_a_fork(void **state)
{
	struct thin_storage *s;
	int status;
	pid_t pid;
	char b[4];

	(void)state;
	serve(NBDKIT("memory", "1M"));
	s = connect_to(nbdkit_uri(), 0);
	assert_int_equal(thin_storage_write_at(s, 0, "abcd", 4), 0);
	pid = fork();
	if (!pid) {
		int r = thin_storage_start(s);

		r = r || thin_storage_read_at(s, 0, b, 4) || memcmp(b, "abcd", 4);
		thin_storage_close(s);
		_exit(r != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	thin_storage_close(s);
}

static void tls_with_a_key(void **state)
{
	struct thin_storage *s = NULL;
	static char psk[320];
	char uri[900];
	FILE *f;

	(void)state;
	if (nbdkit_missing() || system("nbdkit --dump-config | grep -q '^tls=yes'"))
		skip();
	f = fopen(scratch("keys"), "w");
	fprintf(f, "alice:"
		   "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
	fclose(f);
	snprintf(psk, sizeof(psk), "--tls-psk=%s", scratch("keys"));
	serve(NBDKIT("--tls=require", psk, "memory", "1M"));
	snprintf(uri, sizeof(uri), "nbds+unix://alice@/?socket=%s&tls-psk-file=%s",
		 scratch("sock"), scratch("keys"));
	s = connect_to(uri, 0);
	write_pattern(s);
	run_readers(s);
	thin_storage_close(s);
	s = NULL;
	assert_int_equal(thin_storage_open(nbdkit_uri(), RO, &s, &error), -EIO);
	assert_null(s);
}

#define SERVED(fn) cmocka_unit_test_teardown(fn, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(equals_plain_memory),
		SERVED(equals_plain_memory_in_blocks),
		SERVED(equals_plain_memory_on_a_poor_server),
		SERVED(what_the_server_tells),
		SERVED(nobody_there),
		SERVED(no_such_export),
		SERVED(no_tls_where_it_is_wanted),
		SERVED(readonly_server),
		SERVED(server_errors),
		SERVED(extents),
		SERVED(extents_in_blocks),
		SERVED(holes_of_unknown_content_are_data),
		SERVED(very_many_extents),
		SERVED(extents_finer_than_blocks),
		SERVED(zero_and_punch),
		SERVED(many_threads),
		SERVED(how_many_connections),
		SERVED(unaligned_writers_do_not_undo_each_other),
		SERVED(start_after_a_fork),
		SERVED(tls_with_a_key),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
