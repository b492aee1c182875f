/* SPDX-License-Identifier: BSD-3-Clause */
/* Server and client of the control socket, with a handler made for the test. */
#include "unit.h"

#include "control/address.h"
#include "control/client.h"
#include "control/server.h"
#include "control/wire.h"
#include "util/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NR_ITEMS 1000

struct fixture {
	char dir[64];
	struct thin_server *server;
	atomic_int calls;
	atomic_bool cancelled;
};

/* Sends items without end, or as many as NR_ITEMS. */
static int send_items(struct fixture *f, const struct thinbd_observer *o, bool for_ever)
{
	for (int i = 0; for_ever || i < NR_ITEMS; i++) {
		char text[40];
		int len = snprintf(text, sizeof(text), "{\"n\": %d}", i);
		if (o->item(o->ctx, text, (size_t)len)) {
			f->cancelled = true;
			return -ECANCELED;
		}
	}
	return 0;
}

static int handler(void *ctx, const char *request, const struct thinbd_observer *o,
		   char **ret_reply)
{
	struct fixture *f = ctx;
	const char *reply = "{\"result\": 42}";

	f->calls++;
	if (strstr(request, "progress"))
		for (unsigned i = 1; i <= 3; i++)
			assert_int_equal(o->progress(o->ctx, i, 3), 0);
	if (strstr(request, "endless") && send_items(f, o, true))
		reply = "{\"error\": {\"code\": \"ECANCELED\", \"message\": \"\"}}";
	else if (strstr(request, "items") && send_items(f, o, false))
		return -ECANCELED;
	if (strstr(request, "huge")) {
		*ret_reply = malloc(THIN_MAX_MESSAGE + 1);
		memset(*ret_reply, ' ', THIN_MAX_MESSAGE);
		memcpy(*ret_reply, "{}", 2);
		(*ret_reply)[THIN_MAX_MESSAGE] = '\0';
		return 0;
	}
	*ret_reply = strdup(reply);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/thinbd-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(thin_server_open(f->dir, handler, f, &f->server, NULL), 0);
	assert_int_equal(thin_server_start(f->server), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	thin_server_close(f->server);
	assert_int_equal(rmdir(f->dir), 0); /* the socket is gone */
	free(f);
	return 0;
}

static char *ask(struct fixture *f, const char *request, bool streams,
		 const struct thinbd_observer *o)
{
	struct thin_error e = {0};
	char *reply = NULL;

	assert_int_equal(thin_client_call(f->dir, request, streams, false, o, &reply, &e),
			 0);
	return reply;
}

static void a_request_is_answered(void **state)
{
	char *reply = ask(*state, "{\"verb\": \"x\"}", false, NULL);

	assert_string_equal(reply, "{\"result\":42}");
	free(reply);
}

static int note_progress(void *ctx, uint64_t done, uint64_t total)
{
	assert_int_equal(total, 3);
	*(uint64_t *)ctx = *(uint64_t *)ctx * 10 + done;
	return 0;
}

static void progress_comes_in_order(void **state)
{
	uint64_t seen = 0;
	struct thinbd_observer o = {.ctx = &seen, .progress = note_progress};
	char *reply = ask(*state, "{\"verb\": \"progress\"}", false, &o);

	assert_int_equal(seen, 123);
	free(reply);
}

static int count_item(void *ctx, const char *json, size_t len)
{
	char expected[40];

	snprintf(expected, sizeof(expected), "{\"n\": %d}", (*(int *)ctx)++);
	assert_string_equal(json, expected);
	assert_int_equal(len, strlen(expected));
	return 0;
}

static void items_come_one_by_one(void **state)
{
	int nr = 0;
	struct thinbd_observer o = {.ctx = &nr, .item = count_item};
	char *reply = ask(*state, "{\"verb\": \"items\"}", true, &o);

	assert_int_equal(nr, NR_ITEMS);
	assert_string_equal(reply, "{\"result\":null}");
	free(reply);
}

static void items_are_collected(void **state)
{
	char *reply = ask(*state, "{\"verb\": \"items\"}", true, NULL);

	assert_has(reply, "{\"result\":[{\"n\":0},{\"n\":1},");
	assert_has(reply, ",{\"n\":999}]}");
	free(reply);
}

static int stop_at_once(void *ctx, const char *json, size_t len)
{
	(void)ctx;
	(void)json;
	(void)len;
	return -1;
}

static void a_client_that_goes_away_cancels(void **state)
{
	struct fixture *f = *state;
	struct thinbd_observer o = {.item = stop_at_once};
	struct thin_error e = {0};
	char *reply;

	assert_int_equal(thin_client_call(f->dir, "{\"verb\": \"endless\"}", true, false,
					  &o, &reply, &e),
			 -ECANCELED);
	thin_server_close(f->server); /* waits for the request */
	f->server = NULL;
	assert_true(f->cancelled);
}

static void an_answer_that_is_too_long_is_an_error(void **state)
{
	char *reply = ask(*state, "{\"verb\": \"huge\"}", false, NULL);

	assert_has(reply, "EMSGSIZE");
	free(reply);
}

static int connect_raw(struct fixture *f, struct thin_wire *w)
{
	struct thin_control_address a;
	int fd;
	int r;

	assert_int_equal(thin_control_address_init(&a, f->dir), 0);
	r = thin_control_connect(&a, &fd);
	thin_control_address_fini(&a);
	if (!r)
		thin_wire_init(w, fd);
	return r;
}

static void what_is_no_request_is_hung_up_on(void **state)
{
	static const char *const lines[] = {
		"hello",
		"{}",
		"{\"id\": 1}",
		"{\"id\": \"1\", \"request\": {}}",
		"{\"id\": 1, \"request\": []}",
		"{\"id\": 1, \"request\": {}, \"x\": 0}",
		"[[[[[[[[[[[[[[[[",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct thin_wire w;
		char *line;
		assert_int_equal(connect_raw(f, &w), 0);
		assert_int_equal(thin_wire_receive(&w, &line, 1000), 0);
		assert_has(line, "\"thinbd\": 1");
		assert_int_equal(thin_wire_send(&w, lines[i], strlen(lines[i]), 1000), 0);
		assert_int_equal(thin_wire_receive(&w, &line, 1000), 0);
		assert_has(line, "EPROTO");
		assert_int_equal(thin_wire_receive(&w, &line, 1000), -ECONNRESET);
		thin_wire_fini(&w);
	}
	assert_int_equal(f->calls, 0);
}

static void only_so_many_are_let_in(void **state)
{
	struct fixture *f = *state;
	struct thin_wire w[THIN_MAX_CONTROL_PEERS + 1];
	char *line;

	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		assert_int_equal(connect_raw(f, &w[i]), 0);
		assert_int_equal(thin_wire_receive(&w[i], &line, 1000), 0);
		assert_has(line, i < THIN_MAX_CONTROL_PEERS ? "thinbd" : "EBUSY");
	}
	/* One leaves, one comes; hanging up is noticed a moment later. */
	thin_wire_fini(&w[0]);
	for (int tries = 0; tries < 100; tries++) {
		assert_int_equal(connect_raw(f, &w[0]), 0);
		assert_int_equal(thin_wire_receive(&w[0], &line, 1000), 0);
		if (strstr(line, "thinbd"))
			break;
		thin_wire_fini(&w[0]);
		usleep(10000);
	}
	assert_has(line, "thinbd");
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		thin_wire_fini(&w[i]);
}

static void the_socket_is_its_owners_alone(void **state)
{
	struct fixture *f = *state;
	char path[100];
	struct stat st;

	snprintf(path, sizeof(path), "%s/control", f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_live_socket_is_not_taken(void **state)
{
	struct fixture *f = *state;
	struct thin_error e = {0};
	struct thin_server *second;

	assert_int_equal(thin_server_open(f->dir, handler, f, &second, &e), -EBUSY);
	assert_has(e.text, "answers");
	free(ask(f, "{\"verb\": \"x\"}", false, NULL));
}

static void a_stale_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	thin_server_close(f->server);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/control", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	assert_int_equal(thin_server_open(f->dir, handler, f, &f->server, NULL), 0);
	assert_int_equal(thin_server_start(f->server), 0);
	free(ask(f, "{\"verb\": \"x\"}", false, NULL));
}

static void nobody_there_is_told_apart(void **state)
{
	struct fixture *f = *state;
	struct thin_error e = {0};
	char *reply;

	thin_server_close(f->server);
	f->server = NULL;
	assert_int_equal(thin_client_call(f->dir, "{}", false, false, NULL, &reply, &e),
			 -ENOENT);
	assert_int_equal(
		thin_client_call("/nowhere", "{}", false, false, NULL, &reply, &e),
		-ENOENT);
	assert_int_equal(
		thin_client_call("/dev/null", "{}", false, false, NULL, &reply, &e),
		-ENOENT);
}

/* A path that is longer than an address of a socket. */
static void long_paths_work(void **state)
{
	struct fixture *f = *state;
	struct fixture deep = {0};
	char dir[300];

	snprintf(dir, sizeof(dir), "%s/%0100d", f->dir, 1);
	assert_int_equal(mkdir(dir, 0700), 0);
	struct thin_server *server;
	assert_int_equal(thin_server_open(dir, handler, &deep, &server, NULL), 0);
	assert_int_equal(thin_server_start(server), 0);
	char *reply;
	assert_int_equal(thin_client_call(dir, "{}", false, false, NULL, &reply, NULL),
			 0);
	free(reply);
	thin_server_close(server);
	assert_int_equal(rmdir(dir), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_request_is_answered),
		TEST(progress_comes_in_order),
		TEST(items_come_one_by_one),
		TEST(items_are_collected),
		TEST(a_client_that_goes_away_cancels),
		TEST(an_answer_that_is_too_long_is_an_error),
		TEST(what_is_no_request_is_hung_up_on),
		TEST(only_so_many_are_let_in),
		TEST(the_socket_is_its_owners_alone),
		TEST(a_live_socket_is_not_taken),
		TEST(a_stale_socket_is_replaced),
		TEST(nobody_there_is_told_apart),
		TEST(long_paths_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
