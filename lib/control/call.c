/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the socket and the service meet: a pool that is served listens, and
 * a call finds whoever has the pool.
 */
#include "control/client.h"
#include "control/server.h"
#include "service/requests.h"
#include "thinbd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --- serving ------------------------------------------------------------- */

static int handle(void *ctx, const char *request, const struct thinbd_observer *observer,
		  char **ret_reply)
{
	return thinbd_request(ctx, request, observer, ret_reply);
}

static int start(void *ctx)
{
	return thin_server_start(ctx);
}

static void stop(void *ctx)
{
	thin_server_close(ctx);
}

int thinbd_listen(struct thinbd *t, struct thinbd_error *e)
{
	const char *dir = thin_service_dir(t);
	struct thin_error why = {0};
	struct thin_server *server;

	if (!dir)
		return 0;
	int r = thin_server_open(dir, handle, t, &server, &why);
	if (r) {
		if (e) {
			e->code = r;
			snprintf(e->text, sizeof(e->text), "%s", why.text);
		}
		return r;
	}
	struct thin_attachment a = {.start = start, .stop = stop, .ctx = server};
	thin_service_attach(t, &a);
	return 0;
}

/* --- calling ------------------------------------------------------------- */

/* How long to wait for another call to end, or a server to begin. */
#define PATIENCE_NS (UINT64_C(5) * 1000000000)
#define NAP_NS	    20000000

/* What came of asking the server. */
enum who {
	WHO_ANSWERED, /* or it can not be said whether it did */
	WHO_NOBODY,
	WHO_IS_BUSY, /* it has no connection to spare */
};

static char *ask_server(const char *dir, const struct thin_args *args,
			const struct thinbd_observer *observer, enum who *ret_who)
{
	const char *request = thin_json_text(args->doc);
	struct thin_error e = {0};
	char *reply = NULL;

	*ret_who = WHO_ANSWERED;
	if (!request)
		return NULL;
	int r = thin_client_call(dir, request, args->verb->flags & THINBD_VERB_STREAMS,
				 args->verb->flags & THINBD_VERB_TEXT, observer, &reply,
				 &e);
	if (r == -ENOENT || r == -EBUSY)
		*ret_who = r == -EBUSY ? WHO_IS_BUSY : WHO_NOBODY;
	return r ? thin_reply_error(r, &e) : reply;
}

/* Whoever has it now may be gone, or serve it, or have time, a moment later. */
static char *call(const char *dir, const struct thin_args *args,
		  const struct thinbd_observer *observer)
{
	uint64_t deadline_ns = thin_now_ns() + PATIENCE_NS;

	for (;;) {
		struct timespec nap = {.tv_nsec = NAP_NS};
		enum who who;
		bool busy = true;
		char *reply = ask_server(dir, args, observer, &who);
		if (who == WHO_NOBODY) {
			free(reply);
			thin_call_offline(dir, args, observer, &busy, &reply);
		} else if (who == WHO_ANSWERED) {
			busy = false;
		}
		if (!busy || thin_now_ns() > deadline_ns)
			return reply;
		free(reply);
		(void)nanosleep(&nap, NULL);
	}
}

int thinbd_call(const char *dir, const char *request,
		const struct thinbd_observer *observer, char **ret_reply)
{
	struct thin_error e = {0};
	struct thin_args args;
	char *reply;
	int r = thin_args_parse(request, &args, &e);

	if (r) {
		reply = thin_reply_error(r, &e);
	} else {
		reply = call(dir, &args, observer);
		thin_args_fini(&args);
	}
	if (!reply)
		return -ENOMEM;
	*ret_reply = reply;
	return 0;
}
