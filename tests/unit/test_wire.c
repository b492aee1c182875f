/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "control/wire.h"
#include "util/limits.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

struct ends {
	struct thin_wire wire;
	int peer;
};

static struct ends pair(void)
{
	struct ends ends;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	thin_wire_init(&ends.wire, fd[0]);
	ends.peer = fd[1];
	return ends;
}

static void put(struct ends *ends, const char *text, size_t len)
{
	assert_int_equal(write(ends->peer, text, len), len);
}

static void lines_come_one_by_one(void **state)
{
	struct ends ends = pair();
	char *line;

	(void)state;
	put(&ends, "one\ntwo\n\nfour", 13);
	assert_int_equal(thin_wire_receive(&ends.wire, &line, 1000), 0);
	assert_string_equal(line, "one");
	assert_int_equal(thin_wire_receive(&ends.wire, &line, 1000), 0);
	assert_string_equal(line, "two");
	assert_int_equal(thin_wire_receive(&ends.wire, &line, 1000), 0);
	assert_string_equal(line, "");
	assert_int_equal(thin_wire_receive(&ends.wire, &line, 10), -ETIMEDOUT);
	put(&ends, "!\n", 2);
	assert_int_equal(thin_wire_receive(&ends.wire, &line, 1000), 0);
	assert_string_equal(line, "four!");
	close(ends.peer);
	assert_int_equal(thin_wire_receive(&ends.wire, &line, 1000), -ECONNRESET);
	assert_true(thin_wire_closed(&ends.wire));
	thin_wire_fini(&ends.wire);
}

static void a_nul_is_refused(void **state)
{
	struct ends ends = pair();
	char *line;

	(void)state;
	put(&ends, "a\0b\n", 4);
	assert_int_equal(thin_wire_receive(&ends.wire, &line, 1000), -EPROTO);
	close(ends.peer);
	thin_wire_fini(&ends.wire);
}

/* Feeds a line of so many bytes; the socket's buffer is smaller. */
struct feed {
	int fd;
	size_t len;
};

static void *feed(void *arg)
{
	struct feed *f = arg;
	char *text = malloc(f->len + 1);
	size_t sent = 0;

	memset(text, 'x', f->len);
	text[f->len] = '\n';
	while (sent <= f->len) {
		ssize_t n = send(f->fd, text + sent, f->len + 1 - sent, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		sent += (size_t)n;
	}
	free(text);
	return NULL;
}

static int receive_long(size_t len, size_t *ret_len)
{
	struct ends ends = pair();
	struct feed f = {.fd = ends.peer, .len = len};
	pthread_t thread;
	char *line;
	int r;

	assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
	r = thin_wire_receive(&ends.wire, &line, 10000);
	if (!r)
		*ret_len = strlen(line);
	thin_wire_fini(&ends.wire);
	pthread_join(thread, NULL);
	close(ends.peer);
	return r;
}

/* THIN_MAX_MESSAGE bytes with the newline, and not one more. */
static void lines_are_bounded(void **state)
{
	size_t len;

	(void)state;
	assert_int_equal(receive_long(THIN_MAX_MESSAGE - 1, &len), 0);
	assert_int_equal(len, THIN_MAX_MESSAGE - 1);
	assert_int_equal(receive_long(THIN_MAX_MESSAGE, &len), -EMSGSIZE);
}

static void what_is_sent_is_bounded(void **state)
{
	struct ends ends = pair();
	char *text = calloc(1, THIN_MAX_MESSAGE);

	(void)state;
	memset(text, 'x', THIN_MAX_MESSAGE);
	assert_int_equal(thin_wire_send(&ends.wire, text, THIN_MAX_MESSAGE, 10),
			 -EMSGSIZE);
	assert_int_equal(thin_wire_send(&ends.wire, "a\nb", 3, 10), -EMSGSIZE);
	/* Nobody reads: the deadline ends it. */
	assert_int_equal(thin_wire_send(&ends.wire, text, THIN_MAX_MESSAGE - 1, 50),
			 -ETIMEDOUT);
	close(ends.peer);
	assert_int_equal(thin_wire_send(&ends.wire, text, 10, 50), -EPIPE);
	thin_wire_fini(&ends.wire);
	free(text);
}

static size_t there_is(int fd)
{
	char buf[100000];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	return n < 0 ? 0 : (size_t)n;
}

/* Queued lines are sent together: when there are many, or with the next that is not. */
static void queued_lines_wait_for_company(void **state)
{
	struct ends ends = pair();
	char *text = calloc(1, THIN_MAX_MESSAGE);
	size_t sent = 0;

	(void)state;
	assert_int_equal(thin_wire_queue(&ends.wire, "one", 3, 1000), 0);
	assert_int_equal(there_is(ends.peer), 0);
	assert_int_equal(thin_wire_queue(&ends.wire, "a\nb", 3, 1000), -EMSGSIZE);
	assert_int_equal(thin_wire_send(&ends.wire, "two", 3, 1000), 0);
	assert_int_equal(there_is(ends.peer), strlen("one\ntwo\n"));
	/* As many lines as take several rounds. */
	memset(text, 'x', THIN_MAX_MESSAGE);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(thin_wire_queue(&ends.wire, text, 99, 1000), 0);
		sent += there_is(ends.peer);
	}
	assert_true(sent > 200000 && sent <= 300000);
	assert_int_equal(thin_wire_send(&ends.wire, "", 0, 1000), 0);
	assert_int_equal(sent + there_is(ends.peer), 3000 * 100 + 1);
	/* One that is larger than the queue. */
	assert_int_equal(thin_wire_queue(&ends.wire, "one", 3, 1000), 0);
	assert_int_equal(thin_wire_queue(&ends.wire, text, 70000, 1000), 0);
	assert_int_equal(there_is(ends.peer), 4 + 70001);
	/* Who has waited goes with the next. */
	assert_int_equal(thin_wire_queue(&ends.wire, "one", 3, 1000), 0);
	usleep(50000);
	assert_int_equal(thin_wire_queue(&ends.wire, "two", 3, 1000), 0);
	assert_int_equal(there_is(ends.peer), 8);
	thin_wire_fini(&ends.wire);
	close(ends.peer);
	free(text);
}

/* A byte now and then does not keep a connection for ever. */
static void the_deadline_is_for_the_whole_line(void **state)
{
	struct ends ends = pair();
	char *line;

	(void)state;
	for (int i = 0; i < 3; i++)
		put(&ends, "x", 1);
	assert_int_equal(thin_wire_receive(&ends.wire, &line, 30), -ETIMEDOUT);
	close(ends.peer);
	thin_wire_fini(&ends.wire);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_come_one_by_one),
		cmocka_unit_test(a_nul_is_refused),
		cmocka_unit_test(lines_are_bounded),
		cmocka_unit_test(what_is_sent_is_bounded),
		cmocka_unit_test(queued_lines_wait_for_company),
		cmocka_unit_test(the_deadline_is_for_the_whole_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
