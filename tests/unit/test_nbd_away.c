/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbdkit.h"

#include "storage/nbd_conn.h"

#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * For how long those wait whose server is away, and who gets an error for it.
 */

#define RO     THIN_STORAGE_READONLY
#define SECOND UINT64_C(1000000000)

static struct thin_error error;

static struct thin_storage *connect_to_it(void)
{
	struct thin_storage *s = NULL;

	if (thin_storage_open(nbdkit_uri(), RO, &s, &error))
		fail_msg("%s", error.text);
	return s;
}

/* Reads 4 bytes at an offset, once or until told. */
struct reader {
	struct thin_storage *s;
	uint64_t offset;
	_Atomic uint64_t ended;
	atomic_bool *until; /* NULL: once */
	pthread_t thread;
	unsigned good;
	int result; /* of the last one */
};

static void *read_on(void *arg)
{
	struct reader *r = arg;
	char b[4];

	do {
		r->result = thin_storage_read_at(r->s, r->offset, b, sizeof(b));
		r->good += !r->result;
	} while (r->until && !*r->until);
	r->ended = thin_now_ns();
	return NULL;
}

static void begin(struct reader *r)
{
	pthread_create(&r->thread, NULL, read_on, r);
}

static void end(struct reader *r)
{
	pthread_join(r->thread, NULL);
}

/* --- going in good order ----------------------------------------------- */

/* So that each connection is used. */
static void read_at_once(struct thin_storage *s)
{
	struct reader r[THIN_NBD_CONNECTIONS] = {0};

	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		r[i].s = s;
		begin(&r[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		end(&r[i]);
		assert_int_equal(r[i].result, 0);
	}
}

/* [C5]: nbdkit ends when its clients have left, and one of them hears of it. */
static void a_server_that_ends_is_left(void **state)
{
	atomic_bool enough = false;
	struct reader r = {.until = &enough};
	int gone = 0;

	(void)state;
	serve(NBDKIT("--filter=delay", "memory", "64K", "rdelay=100ms"));
	r.s = connect_to_it();
	assert_int_equal(thin_storage_start(r.s), 0);
	read_at_once(r.s);
	begin(&r);
	kill(server.pid, SIGTERM);
	for (int ms = 0; !gone && ms < 20000; ms++) {
		usleep(1000);
		gone = waitpid(server.pid, NULL, WNOHANG);
	}
	assert_int_equal(gone, server.pid);
	enough = true;
	nbdkit_start(&server);
	end(&r);
	assert_int_equal(r.result, 0);
	thin_storage_close(r.s);
}

/* --- servers that are none ---------------------------------------------- */

#define POISON 4096

struct fake {
	enum {
		SILENT,
		HOLDS, /* what it is asked */
		ANSWERS
	} kind;
	int listener;
	atomic_int client;
	atomic_bool asked;
	pthread_t thread;
};

/* The oldest form of the protocol: 152 bytes of greeting, then requests. */
static void greet(int fd)
{
	uint8_t hello[152] = "NBDMAGIC";
	uint64_t magic = htobe64(0x00420281861253), size = htobe64(65536);

	memcpy(hello + 8, &magic, 8);
	memcpy(hello + 16, &size, 8);
	hello[27] = 1; /* "these are flags" */
	(void)send(fd, hello, sizeof(hello), MSG_NOSIGNAL);
}

struct wire_request {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t len;
} __attribute__((packed));

static bool receive(int fd, struct wire_request *q)
{
	return recv(fd, q, sizeof(*q), MSG_WAITALL) == (ssize_t)sizeof(*q);
}

static void reply(int fd, uint64_t cookie)
{
	struct {
		uint32_t magic, error;
		uint64_t cookie;
		char bytes[4];
	} r = {htobe32(0x67446698), 0, cookie, "abc"};

	_Static_assert(sizeof(r) == 24, "the last four are not sent");
	(void)send(fd, &r, 20, MSG_NOSIGNAL);
}

/* It dies of a read at POISON; not without having answered another. */
static void serve_until_poison(int fd)
{
	bool poisoned = false, answered = false;
	struct wire_request q;

	while (!(poisoned && answered) && receive(fd, &q) && be16toh(q.type) == 0) {
		if (be64toh(q.offset) == POISON) {
			poisoned = true;
			continue;
		}
		reply(fd, q.cookie);
		answered = true;
	}
}

static void *fake_server(void *arg)
{
	struct fake *f = arg;
	struct wire_request q;
	int fd;

	while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
		f->client = fd;
		if (f->kind != SILENT)
			greet(fd);
		if (f->kind == ANSWERS)
			serve_until_poison(fd);
		else
			while (receive(fd, &q))
				f->asked = true;
		f->client = -1;
		close(fd);
	}
	return NULL;
}

static void fake_start(struct fake *f)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	f->client = -1;
	(void)unlink(scratch("sock"));
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", scratch("sock"));
	f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(f->listener, 5), 0);
	pthread_create(&f->thread, NULL, fake_server, f);
}

static void fake_stop(struct fake *f)
{
	shutdown(f->listener, SHUT_RDWR);
	shutdown(f->client, SHUT_RDWR); /* -1: to no avail */
	pthread_join(f->thread, NULL);
	close(f->listener);
}

/* --- away too long, and again ------------------------------------------- */

static void who_came_back_is_waited_for(void **state)
{
	struct fake f = {.kind = ANSWERS};
	struct reader r = {0};

	(void)state;
	fake_start(&f);
	r.s = connect_to_it();
	thin_nbd_set_patience(r.s, 50);
	fake_stop(&f);
	read_on(&r);
	assert_int_equal(r.result, -EIO);
	thin_nbd_set_patience(r.s, THIN_NBD_RECONNECT_MS);
	f.kind = HOLDS;
	fake_start(&f);
	begin(&r);
	while (!f.asked)
		usleep(1000);
	fake_stop(&f);
	f.kind = ANSWERS;
	fake_start(&f);
	end(&r);
	assert_int_equal(r.result, 0);
	thin_storage_close(r.s);
	fake_stop(&f);
}

/* Though it answers others in between, who need no error for that. */
static void what_no_server_survives_is_given_up(void **state)
{
	atomic_bool enough = false;
	struct fake f = {.kind = ANSWERS};
	struct reader good = {.until = &enough}, bad = {.offset = POISON};

	(void)state;
	fake_start(&f);
	good.s = bad.s = connect_to_it();
	thin_nbd_set_patience(good.s, 300);
	begin(&good);
	begin(&bad);
	for (int ms = 0; !bad.ended && ms < 20000; ms++)
		usleep(1000);
	if (!bad.ended)
		fail_msg("it is repeated for ever");
	end(&bad);
	enough = true;
	end(&good);
	assert_int_equal(bad.result, -EIO);
	assert_true(good.good > 0);
	thin_storage_close(good.s);
	fake_stop(&f);
}

/* Neither who waits nor who comes while he waits is kept by one that says nothing. */
static void the_last_attempt_is_short(void **state)
{
	struct fake f = {.kind = SILENT};
	struct reader r[3] = {0};
	uint64_t began;

	(void)state;
	serve(NBDKIT("memory", "64K"));
	r[0].s = r[1].s = r[2].s = connect_to_it();
	thin_nbd_set_patience(r[0].s, 100);
	nbdkit_kill(&server);
	fake_start(&f);
	began = thin_now_ns();
	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		begin(&r[i]);
		usleep(200000);
	}
	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		end(&r[i]);
		assert_int_equal(r[i].result, -EIO);
		assert_true(r[i].ended - began < 8 * SECOND);
	}
	thin_storage_close(r[0].s);
	fake_stop(&f);
}

#define SERVED(fn) cmocka_unit_test_teardown(fn, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(a_server_that_ends_is_left),
		SERVED(who_came_back_is_waited_for),
		SERVED(what_no_server_survives_is_given_up),
		SERVED(the_last_attempt_is_short),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
