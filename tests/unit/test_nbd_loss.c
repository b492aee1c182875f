/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbdkit.h"
#include "storage_model.h"

#include "storage/nbd_conn.h"

#include <endian.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * Servers that go away, come back, and come back as somebody else.  nbdkit's
 * memory plugin forgets all when it ends: the worst that a server may do
 * with what was not flushed.
 */

#define RO  THIN_STORAGE_READONLY
#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define MS  UINT64_C(1000000)

static struct thin_error error;

static void restart(void)
{
	nbdkit_kill(&server);
	nbdkit_start(&server);
}

static struct thin_storage *connect_with(unsigned flags)
{
	struct thin_storage *s = NULL;

	if (thin_storage_open(nbdkit_uri(), flags, &s, &error))
		fail_msg("%s", error.text);
	return s;
}

/* --- the log alone ----------------------------------------------------- */

static void add(struct thin_nbd_log *log, uint64_t offset, uint64_t len)
{
	struct thin_nbd_change *c =
		thin_nbd_change_of(THIN_NBD_WRITE, offset, len, "abcdefgh");

	assert_non_null(c);
	thin_nbd_log_add(log, c);
}

static void log_forgets_what_a_flush_covered(void **state)
{
	struct thin_nbd_log log;
	uint64_t covered;

	(void)state;
	thin_nbd_log_init(&log);
	add(&log, 1, 8);
	add(&log, 2, 8);
	covered = log.last_seq; /* a flush is asked for here */
	add(&log, 3, 4);
	thin_nbd_log_forget(&log, covered);
	assert_int_equal(STAILQ_FIRST(&log.changes)->offset, 3);
	assert_null(STAILQ_NEXT(STAILQ_FIRST(&log.changes), link));
	assert_memory_equal(STAILQ_FIRST(&log.changes)->bytes, "abcd", 4);
	assert_int_equal(log.bytes, sizeof(struct thin_nbd_change) + 4);
	thin_nbd_log_forget(&log, covered); /* a slower flush, of before */
	assert_false(STAILQ_EMPTY(&log.changes));
	thin_nbd_log_fini(&log);
	assert_true(STAILQ_EMPTY(&log.changes));
}

/* --- coming back ------------------------------------------------------- */

static atomic_bool enough;
static atomic_int reads;

static void *read_on(void *arg)
{
	uint8_t b[4][4096];

	while (!enough) {
		struct thin_segment seg[4];

		for (uint64_t i = 0; i < 4; i++)
			seg[i] = (struct thin_segment){(reads + 7 * i) % 64 * 4096, b[i],
						       4096};
		if (thin_storage_read(arg, seg, 4))
			return arg;
		for (uint64_t i = 0; i < 4; i++)
			for (size_t k = 0; k < 4096; k++)
				if (b[i][k] != seg[i].offset / 4096 + 1)
					return arg;
		atomic_fetch_add(&reads, 1);
	}
	return NULL;
}

static void make_disk(void)
{
	int fd = open(scratch("disk"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint8_t b[4096];

	for (int i = 0; i < 64; i++) {
		memset(b, i + 1, sizeof(b));
		assert_int_equal(pwrite(fd, b, sizeof(b), i * 4096), 4096);
	}
	close(fd);
}

/* Killed by its pid in the middle of reads, with one connection and more. */
static void reads_are_repeated(void **state)
{
	pthread_t t[6];

	(void)state;
	make_disk();
	serve(NBDKIT("file", scratch("disk")));
	for (int started = 0; started < 2; started++) {
		struct thin_storage *s = connect_with(RO);
		void *bad;

		if (started)
			assert_int_equal(thin_storage_start(s), 0);
		enough = false;
		for (size_t i = 0; i < ARRAY_LEN(t); i++)
			pthread_create(&t[i], NULL, read_on, s);
		for (int i = 0; i < 3; i++) {
			int before = reads;

			while (reads < before + 50)
				usleep(1000);
			restart();
		}
		enough = true;
		for (size_t i = 0; i < ARRAY_LEN(t); i++) {
			pthread_join(t[i], &bad);
			assert_null(bad);
		}
		thin_storage_close(s);
	}
}

/* S2: each is lost by the server, and none by us. */
static void unflushed_changes_are_made_again(void **state)
{
	struct model m = {.rnd = seeded_start(__func__), .size = MIB / 2, .align = 1};

	(void)state;
	serve(NBDKIT("memory", "512K"));
	m.s = connect_with(0);
	m.bytes = calloc(1, m.size);
	m.other = malloc(m.size);
	for (int i = 0; i < 60; i++) {
		uint64_t at = seeded_below(&m.rnd, m.size);
		uint64_t len = seeded_below(&m.rnd, m.size - at);

		switch (seeded_below(&m.rnd, 8)) {
		case 0:
			restart();
			break;
		case 1:
			model_zero(&m, at, len);
			break;
		case 2:
			model_punch(&m, at, len);
			break;
		case 3:
			model_read(&m);
			break;
		default:
			model_write(&m);
		}
	}
	restart();
	assert_int_equal(thin_storage_read_at(m.s, 0, m.other, m.size), 0);
	assert_memory_equal(m.bytes, m.other, m.size);
	thin_storage_close(m.s);
	free(m.bytes);
	free(m.other);
}

struct writer {
	struct thin_storage *s;
	uint64_t offset;
	uint64_t stamp; /* of the last write that was acknowledged */
	int failed;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!enough && !w->failed) {
		uint64_t next = w->stamp + 1, back = 0;

		if (thin_storage_write_at(w->s, w->offset, &next, sizeof(next)) ||
		    thin_storage_read_at(w->s, w->offset, &back, sizeof(back)) ||
		    back != next)
			w->failed = 1;
		w->stamp = next;
		usleep(200);
	}
	return NULL;
}

static void writes_in_flight_are_repeated(void **state)
{
	struct writer w[5] = {0};
	struct thin_storage *s;
	uint64_t writes = 0;
	pthread_t t[5];

	(void)state;
	serve(NBDKIT("--filter=delay", "memory", "64K", "wdelay=1ms"));
	s = connect_with(0);
	enough = false;
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		w[i] = (struct writer){.s = s, .offset = 512 * i};
		pthread_create(&t[i], NULL, write_on, &w[i]);
	}
	for (int i = 0; i < 4; i++) {
		usleep(40000);
		restart();
	}
	enough = true;
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		pthread_join(t[i], NULL);
	restart();
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		uint64_t back;

		assert_int_equal(w[i].failed, 0);
		assert_int_equal(thin_storage_read_at(s, w[i].offset, &back, 8), 0);
		assert_int_equal(back, w[i].stamp);
		writes += w[i].stamp;
	}
	assert_true(writes > 0); /* how many is a matter of the machine's load */
	thin_storage_close(s);
}

/* What was flushed is the server's affair, and no more in our memory. */
static void flushed_changes_are_forgotten(void **state)
{
	struct thin_storage *s;
	char b[4];

	(void)state;
	serve(NBDKIT("memory", "64K"));
	s = connect_with(0);
	assert_int_equal(thin_storage_write_at(s, 0, "abcd", 4), 0);
	assert_int_equal(thin_storage_flush(s), 0);
	assert_int_equal(thin_storage_write_at(s, 4, "efgh", 4), 0);
	restart();
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), 0);
	assert_memory_equal(b, "\0\0\0\0", 4);
	assert_int_equal(thin_storage_read_at(s, 4, b, 4), 0);
	assert_memory_equal(b, "efgh", 4);
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

/* Nobody flushes; so we do, before the log grows too long. */
static void log_is_bounded(void **state)
{
	static uint8_t b[8 * 1024 * 1024];
	static char logfile[320];
	struct thin_storage *s;

	(void)state;
	snprintf(logfile, sizeof(logfile), "logfile=%s", scratch("log"));
	serve(NBDKIT("--filter=log", "null", "64M", logfile));
	s = connect_with(0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(thin_storage_write_at(s, 0, b, sizeof(b) - 1024), 0);
	assert_int_equal(count_in_log("Flush"), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(thin_storage_write_at(s, 0, b, sizeof(b)), 0);
	assert_true(count_in_log("Flush") > 0);
	thin_storage_close(s);
}

static void *flush_it(void *arg)
{
	return thin_storage_flush(arg) ? arg : NULL;
}

static void flush_waits_for_the_server(void **state)
{
	struct thin_storage *s;
	pthread_t t;
	void *bad;
	char b[4];

	(void)state;
	serve(NBDKIT("memory", "64K"));
	s = connect_with(0);
	assert_int_equal(thin_storage_write_at(s, 0, "abcd", 4), 0);
	nbdkit_kill(&server);
	pthread_create(&t, NULL, flush_it, s);
	usleep(100000);
	nbdkit_start(&server);
	pthread_join(t, &bad);
	assert_null(bad);
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), 0);
	assert_memory_equal(b, "abcd", 4);
	thin_storage_close(s);
}

/* --- not coming back --------------------------------------------------- */

static void patience_ends(void **state)
{
	struct thin_storage *s;
	uint64_t begin;
	char b[4];

	(void)state;
	serve(NBDKIT("memory", "64K"));
	s = connect_with(RO);
	thin_nbd_set_patience(s, 200);
	nbdkit_kill(&server);
	begin = thin_now_ns();
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), -EIO);
	assert_true(thin_now_ns() - begin >= 200 * MS);
	begin = thin_now_ns();
	for (int i = 0; i < 10; i++)
		assert_int_equal(thin_storage_read_at(s, 0, b, 4), -EIO);
	assert_true(thin_now_ns() - begin < 150 * MS); /* nobody waits again */
	nbdkit_start(&server);
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), 0);
	restart(); /* and patience is back */
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), 0);
	thin_storage_close(s);
}

/* S4: nobody knows what is durable, and no later flush may say so. */
static void a_flush_that_found_nobody_stays_failed(void **state)
{
	struct thin_storage *s;

	(void)state;
	serve(NBDKIT("memory", "64K"));
	s = connect_with(0);
	thin_nbd_set_patience(s, 50);
	assert_int_equal(thin_storage_write_at(s, 0, "abcd", 4), 0);
	nbdkit_kill(&server);
	assert_int_equal(thin_storage_flush(s), -EIO);
	nbdkit_start(&server);
	assert_int_equal(thin_storage_flush(s), -EIO);
	thin_storage_close(s);
}

/* The successor does not take what we would have it know. */
static void a_refused_replay_is_for_ever(void **state)
{
	struct thin_storage *s;
	char b[4];

	(void)state;
	serve(NBDKIT("memory", "64K"));
	s = connect_with(0);
	assert_int_equal(thin_storage_write_at(s, 0, "abcd", 4), 0);
	nbdkit_kill(&server);
	serve(NBDKIT("--filter=error", "memory", "64K", "error-pwrite=EIO",
		     "error-pwrite-rate=100%"));
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), -EIO);
	nbdkit_kill(&server);
	serve(NBDKIT("memory", "64K"));
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), -EIO);
	thin_storage_close(s);
}

/* I6: bytes of another export are never mixed with those of the first. */
static void another_export_is_stale(void **state)
{
	static const struct {
		const char *words[4];
		int result;
	} others[] = {
		{{"memory", "63K"}, -ESTALE},
		{{"memory", "65K"}, -ESTALE},
		{{"memory", "64K"}, 0},
		{{"--filter=nozero", "memory", "64K"}, 0}, /* we only read */
		{{"--filter=blocksize-policy", "memory", "64K", "blocksize-minimum=4096"},
		 -ESTALE},
		{{"memory", "64K"}, 0},
	};
	struct thin_storage *s;
	char b[4];

	(void)state;
	serve(NBDKIT("memory", "64K"));
	s = connect_with(RO);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		struct nbdkit other = {0};
		int r;

		memcpy(other.words, others[i].words, sizeof(others[i].words));
		nbdkit_kill(&server);
		serve(other);
		r = thin_storage_read_at(s, 0, b, 4);
		if (r != others[i].result)
			fail_msg("case %zu: %d", i, r);
	}
	thin_storage_close(s);
}

/* The default export is another one now, of the same size. */
static void another_name_is_stale(void **state)
{
	struct thin_storage *s;
	char b[4];

	(void)state;
	serve(NBDKIT("--filter=exportname", "memory", "64K", "default-export=one"));
	s = connect_with(RO);
	nbdkit_kill(&server);
	serve(NBDKIT("--filter=exportname", "memory", "64K", "default-export=two"));
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), -ESTALE);
	thin_storage_close(s);
}

static void a_writer_accepts_growth_and_no_loss(void **state)
{
	struct thin_storage *s;
	char b[4];

	(void)state;
	serve(NBDKIT("memory", "64K"));
	s = connect_with(0);
	nbdkit_kill(&server);
	serve(NBDKIT("memory", "128K"));
	assert_int_equal(thin_storage_write_at(s, 0, "abcd", 4), 0);
	assert_int_equal(thin_storage_write_at(s, 65536, "abcd", 4), -EIO);
	nbdkit_kill(&server);
	serve(NBDKIT("-r", "memory", "64K"));
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), -ESTALE);
	nbdkit_kill(&server);
	serve(NBDKIT("--filter=nozero", "memory", "64K"));
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), -ESTALE);
	thin_storage_close(s);
}

/* --- servers that are none --------------------------------------------- */

struct fake {
	int listener;
	enum {
		SILENT,
		GREETS,
		HOLDS_FLUSHES
	} kind;
	atomic_int met;		/* clients */
	uint64_t held;		/* a flush, to be answered with the next write */
	uint64_t written[2][8]; /* by the first client and the second: offsets */
	unsigned nr[2];
};

/* The oldest form of the protocol: 152 bytes of greeting, then requests. */
static void greet(int fd)
{
	uint8_t hello[152] = "NBDMAGIC";
	uint64_t magic = htobe64(0x00420281861253), size = htobe64(65536);

	memcpy(hello + 8, &magic, 8);
	memcpy(hello + 16, &size, 8);
	hello[27] = 1 | 4; /* "these are flags", and flush */
	(void)send(fd, hello, sizeof(hello), MSG_NOSIGNAL);
}

struct wire_request {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t len;
} __attribute__((packed));

static void reply(int fd, uint64_t cookie)
{
	struct {
		uint32_t magic, error;
		uint64_t cookie;
	} r = {htobe32(0x67446698), 0, cookie};

	(void)send(fd, &r, sizeof(r), MSG_NOSIGNAL);
}

static bool receive(int fd, void *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

/*
 * The first client's flush is answered after the write that follows it, and
 * then it is hung up on; the others are served.
 */
static void serve_flushes_late(struct fake *f, int fd)
{
	unsigned who = f->met > 1;
	struct wire_request q;
	uint8_t bytes[512];

	while (receive(fd, &q, sizeof(q))) {
		if (be16toh(q.type) == 3 && !who) {
			f->held = q.cookie;
			continue;
		}
		if (be16toh(q.type) == 1) {
			assert_true(receive(fd, bytes, be32toh(q.len)));
			f->written[who][f->nr[who]++] = be64toh(q.offset);
		}
		if (be16toh(q.type) == 2)
			return;
		reply(fd, q.cookie);
		if (f->held) {
			reply(fd, f->held);
			f->held = 0;
			return;
		}
	}
}

static void *fake_server(void *arg)
{
	struct fake *f = arg;
	struct wire_request q;
	int fd;

	while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
		f->met++;
		if (f->kind != SILENT)
			greet(fd);
		if (f->kind == HOLDS_FLUSHES)
			serve_flushes_late(f, fd);
		else
			(void)receive(fd, &q, sizeof(q));
		close(fd);
	}
	return NULL;
}

static pthread_t fake_start(struct fake *f)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	pthread_t t;

	(void)unlink(scratch("sock"));
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", scratch("sock"));
	f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(f->listener, 5), 0);
	pthread_create(&t, NULL, fake_server, f);
	return t;
}

static void fake_stop(struct fake *f, pthread_t t)
{
	shutdown(f->listener, SHUT_RDWR);
	pthread_join(t, NULL);
	close(f->listener);
}

/*
 * S2: a write that is complete while a flush is under way is not covered by
 * it.  So it is made again, and the one from before the flush is not.
 */
static void flush_covers_what_was_complete_before(void **state)
{
	struct fake f = {.kind = HOLDS_FLUSHES};
	pthread_t t = fake_start(&f), flusher;
	struct thin_storage *s = connect_with(0);
	char b[512] = "";
	void *bad;

	(void)state;
	assert_int_equal(thin_storage_write_at(s, 0, b, 512), 0);
	pthread_create(&flusher, NULL, flush_it, s);
	usleep(50000);
	assert_int_equal(thin_storage_write_at(s, 1024, b, 512), 0);
	pthread_join(flusher, &bad);
	assert_null(bad);
	assert_int_equal(thin_storage_write_at(s, 2048, b, 512), 0);
	thin_storage_close(s);
	fake_stop(&f, t);
	assert_int_equal(f.nr[0], 2);
	assert_int_equal(f.nr[1], 2);
	assert_int_equal(f.written[1][0], 1024);
	assert_int_equal(f.written[1][1], 2048);
}

/* It answers to no request ever, but can be connected to each time. */
static void connecting_is_no_progress(void **state)
{
	struct fake f = {.kind = GREETS};
	pthread_t t = fake_start(&f);
	struct thin_storage *s = connect_with(RO);
	uint64_t begin = thin_now_ns();
	char b[4];

	(void)state;
	thin_nbd_set_patience(s, 200);
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), -EIO);
	assert_true(thin_now_ns() - begin < 2000 * MS);
	assert_true(f.met > 2);
	thin_storage_close(s);
	fake_stop(&f, t);
}

static void silence_has_an_end(void **state)
{
	struct fake f = {.kind = SILENT};
	pthread_t t = fake_start(&f);
	struct thin_nbd_export x = {0};
	struct nbd_handle *nbd = NULL;
	uint64_t begin = thin_now_ns();

	(void)state;
	assert_int_equal(
		thin_nbd_handshake(nbdkit_uri(), begin + 50 * MS, &nbd, &x, &error),
		-EIO);
	assert_has(error.text, "no answer");
	assert_true(thin_now_ns() - begin >= 50 * MS);
	assert_null(nbd);
	fake_stop(&f, t);
}

#define SERVED(fn) cmocka_unit_test_teardown(fn, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_forgets_what_a_flush_covered),
		SERVED(reads_are_repeated),
		SERVED(unflushed_changes_are_made_again),
		SERVED(writes_in_flight_are_repeated),
		SERVED(flushed_changes_are_forgotten),
		SERVED(log_is_bounded),
		SERVED(flush_waits_for_the_server),
		SERVED(patience_ends),
		SERVED(a_flush_that_found_nobody_stays_failed),
		SERVED(a_refused_replay_is_for_ever),
		SERVED(another_export_is_stale),
		SERVED(another_name_is_stale),
		SERVED(a_writer_accepts_growth_and_no_loss),
		SERVED(flush_covers_what_was_complete_before),
		SERVED(connecting_is_no_progress),
		SERVED(silence_has_an_end),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
