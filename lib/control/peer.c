/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/peer.h"

#include "util/cleanup.h"
#include "util/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A reader that pages through a long answer may take its time. */
#define ANSWER_TIMEOUT_MS 60000

/* A request, an object of arguments, an array in it, and some to spare. */
#define MAX_DEPTH 8

THIN_DEFINE_CLEANUP(struct json_object *, json_object_put);
THIN_DEFINE_CLEANUP(struct json_tokener *, json_tokener_free);

void thin_peer_init(struct thin_peer *p, int fd, thin_control_handler *handler, void *ctx)
{
	thin_wire_init(&p->wire, fd);
	p->handler = handler;
	p->ctx = ctx;
	atomic_init(&p->done, false);
}

void thin_peer_fini(struct thin_peer *p)
{
	thin_wire_fini(&p->wire);
}

bool thin_peer_done(const struct thin_peer *p)
{
	return atomic_load(&p->done);
}

void thin_peer_hang_up(const struct thin_peer *p)
{
	(void)shutdown(p->wire.fd, SHUT_RDWR);
}

/* --- what is sent -------------------------------------------------------- */

typedef int send_fn(struct thin_wire *w, const char *json, size_t len, int timeout_ms);

/* {"id": ID, "KEY": VALUE}, where @value is JSON already. */
static int answer(struct thin_wire *w, send_fn *send_line, int64_t id, const char *key,
		  const char *value)
{
	_cleanup_free char *line = NULL;
	int len = asprintf(&line, "{\"id\": %" PRId64 ", \"%s\": %s}", id, key, value);

	if (len < 0)
		return -ENOMEM;
	return send_line(w, line, (size_t)len, ANSWER_TIMEOUT_MS);
}

static int send_answer(struct thin_wire *w, int64_t id, const char *key,
		       const char *value)
{
	return answer(w, thin_wire_send, id, key, value);
}

static int send_error(struct thin_wire *w, int err, const char *message)
{
	_cleanup_(json_object_putp) struct json_object *doc = json_object_new_object();
	struct json_object *error = json_object_new_object();

	if (!doc || !error) {
		json_object_put(error);
		return -ENOMEM;
	}
	(void)json_object_object_add(error, "code",
				     json_object_new_string(thin_errname(err)));
	(void)json_object_object_add(error, "message", json_object_new_string(message));
	(void)json_object_object_add(doc, "error", error);
	const char *text = json_object_to_json_string(doc);
	return text ? thin_wire_send(w, text, strlen(text), THIN_CONTROL_TIMEOUT_MS)
		    : -ENOMEM;
}

void thin_peer_refuse(int fd, int err, const char *why)
{
	struct thin_wire w;

	thin_wire_init(&w, fd);
	(void)send_error(&w, err, why); /* it is not served either way */
	thin_wire_fini(&w);
}

/* --- one request --------------------------------------------------------- */

struct call {
	struct thin_wire *wire;
	int64_t id;
};

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct call *c = ctx;
	char text[64];

	if (thin_wire_closed(c->wire))
		return -ECANCELED;
	snprintf(text, sizeof(text), "[%" PRIu64 ", %" PRIu64 "]", done, total);
	return send_answer(c->wire, c->id, "progress", text);
}

static int on_item(void *ctx, const char *json, size_t len)
{
	struct call *c = ctx;

	(void)len;
	return answer(c->wire, thin_wire_queue, c->id, "item", json);
}

static int send_too_long(struct call *c)
{
	char text[200];

	snprintf(text, sizeof(text),
		 "{\"error\": {\"code\": \"EMSGSIZE\", \"message\": \"the answer does "
		 "not fit "
		 "into %" PRIu64 " bytes; ask for less at a time\"}}",
		 THIN_MAX_MESSAGE);
	return send_answer(c->wire, c->id, "reply", text);
}

static int do_request(struct thin_peer *p, int64_t id, const char *request)
{
	struct call c = {.wire = &p->wire, .id = id};
	struct thinbd_observer observer = {
		.ctx = &c,
		.progress = on_progress,
		.item = on_item,
	};
	_cleanup_free char *reply = NULL;
	int r = p->handler(p->ctx, request, &observer, &reply);

	if (r)
		return r;
	r = send_answer(&p->wire, id, "reply", reply);
	return r == -EMSGSIZE ? send_too_long(&c) : r;
}

/* --- one line ------------------------------------------------------------ */

/* {"id": number, "request": object}, and nothing else. */
static int take_apart(struct json_object *line, int64_t *ret_id, const char **ret_request)
{
	struct json_object *id, *request;

	if (!json_object_is_type(line, json_type_object) ||
	    json_object_object_length(line) != 2)
		return -EPROTO;
	if (!json_object_object_get_ex(line, "id", &id) ||
	    !json_object_is_type(id, json_type_int))
		return -EPROTO;
	if (!json_object_object_get_ex(line, "request", &request) ||
	    !json_object_is_type(request, json_type_object))
		return -EPROTO;
	const char *text = json_object_to_json_string(request);
	if (!text)
		return -ENOMEM;
	*ret_id = json_object_get_int64(id);
	*ret_request = text;
	return 0;
}

static int do_line(struct thin_peer *p, const char *line)
{
	_cleanup_(json_tokener_freep) struct json_tokener *tok =
		json_tokener_new_ex(MAX_DEPTH);
	const char *request;
	int64_t id;

	if (!tok)
		return -ENOMEM;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	_cleanup_(json_object_putp) struct json_object *doc =
		json_tokener_parse_ex(tok, line, (int)strlen(line) + 1);
	int r = doc ? take_apart(doc, &id, &request) : -EPROTO;
	return r ? r : do_request(p, id, request);
}

/* Root, or whoever we are. */
static bool may_ask(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (cred.uid == 0 || cred.uid == geteuid());
}

static int greet(struct thin_wire *w)
{
	char text[100];
	int len = snprintf(text, sizeof(text), "{\"thinbd\": %d, \"version\": \"%s\"}",
			   THIN_WIRE_VERSION, thinbd_version());

	return thin_wire_send(w, text, (size_t)len, THIN_CONTROL_TIMEOUT_MS);
}

static int serve(struct thin_peer *p)
{
	int r = greet(&p->wire);

	while (!r) {
		char *line;
		r = thin_wire_receive(&p->wire, &line, THIN_CONTROL_TIMEOUT_MS);
		if (!r)
			r = do_line(p, line);
	}
	return r;
}

void *thin_peer_run(void *peer)
{
	struct thin_peer *p = peer;

	if (!may_ask(p->wire.fd)) {
		(void)send_error(&p->wire, EACCES,
				 "only root and the server's user may ask");
	} else {
		int r = serve(p);
		/* Tell it what it did wrong, if it is still there. */
		if (r == -EPROTO || r == -EMSGSIZE)
			(void)send_error(&p->wire, r, "not a request, or too long a one");
	}
	thin_peer_hang_up(p);
	atomic_store(&p->done, true);
	return NULL;
}
