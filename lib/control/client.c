/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/client.h"

#include "control/address.h"
#include "control/wire.h"
#include "service/reply.h"
#include "util/limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct client {
	struct thin_wire wire;
	struct json_tokener *tok;
	const struct thinbd_observer *observer;
	bool streams;
	struct thin_items items;
	char *reply;
};

/* One request a connection. */
#define REQUEST_ID 1

/* A server may nest deeper than a request does. */
#define MAX_DEPTH 32

static int parse(struct client *c, const char *line, struct json_object **ret)
{
	int r = thin_json_parse(c->tok, line, strlen(line), ret);

	return r || json_object_is_type(*ret, json_type_object) ? r : -EPROTO;
}

/* A server that will not talk says why. */
static int refusal(struct json_object *doc, struct thin_error *e)
{
	struct json_object *error, *code, *message;

	if (!json_object_object_get_ex(doc, "error", &error) ||
	    !json_object_object_get_ex(error, "code", &code) ||
	    !json_object_object_get_ex(error, "message", &message) ||
	    !json_object_is_type(code, json_type_string) ||
	    !json_object_is_type(message, json_type_string))
		return -EPROTO;
	bool busy = !strcmp(json_object_get_string(code), thin_errname(EBUSY));
	return thin_error_set(e, busy ? -EBUSY : -EACCES, "the server refuses: %s",
			      json_object_get_string(message));
}

static int greet(struct client *c, struct thin_error *e)
{
	_cleanup_json struct json_object *doc = NULL;
	struct json_object *version;
	char *line;
	int r = thin_wire_receive(&c->wire, &line, THIN_CONTROL_TIMEOUT_MS);

	if (!r)
		r = parse(c, line, &doc);
	if (r)
		return r;
	if (!json_object_object_get_ex(doc, "thinbd", &version))
		return refusal(doc, e);
	if (json_object_get_int(version) != THIN_WIRE_VERSION)
		return thin_error_set(
			e, -EPROTO,
			"the server speaks version %d of the protocol, not %d",
			json_object_get_int(version), THIN_WIRE_VERSION);
	return 0;
}

static int send_request(struct client *c, const char *request)
{
	_cleanup_free char *line = NULL;
	int len = asprintf(&line, "{\"id\": %d, \"request\": %s}", REQUEST_ID, request);

	if (len < 0)
		return -ENOMEM;
	return thin_wire_send(&c->wire, line, (size_t)len, THIN_CONTROL_TIMEOUT_MS);
}

/* --- the answers --------------------------------------------------------- */

static int take_progress(struct client *c, struct json_object *pair)
{
	if (!json_object_is_type(pair, json_type_array) ||
	    json_object_array_length(pair) != 2)
		return -EPROTO;
	if (!c->observer || !c->observer->progress)
		return 0;
	uint64_t done = json_object_get_uint64(json_object_array_get_idx(pair, 0));
	uint64_t total = json_object_get_uint64(json_object_array_get_idx(pair, 1));
	return c->observer->progress(c->observer->ctx, done, total) ? -ECANCELED : 0;
}

/* The reply itself; its result is what was collected, if it came in items. */
static int take_reply(struct client *c, struct json_object *reply)
{
	bool error = json_object_object_get_ex(reply, "error", NULL);

	if (c->streams && !error) {
		c->reply = thin_reply_result(thin_items_result(&c->items));
	} else {
		const char *text = thin_json_text(reply);
		c->reply = text ? strdup(text) : NULL;
	}
	return c->reply ? 0 : -ENOMEM;
}

static int take_answer(struct client *c, struct json_object *doc)
{
	struct json_object *o;

	if (!json_object_object_get_ex(doc, "id", &o) ||
	    json_object_get_int64(o) != REQUEST_ID)
		return -EPROTO; /* it answers somebody else, or nobody */
	if (json_object_object_get_ex(doc, "item", &o))
		return thin_items_add_object(&c->items, json_object_get(o));
	if (json_object_object_get_ex(doc, "progress", &o))
		return take_progress(c, o);
	if (json_object_object_get_ex(doc, "reply", &o) &&
	    json_object_is_type(o, json_type_object))
		return take_reply(c, o);
	return -EPROTO;
}

/*
 * How our server begins a line with an item, which is then a document of its own.
 * There may be thousands: whoever wants them takes them apart, once.
 */
#define ITEM "{\"id\": 1, \"item\": "

_Static_assert(REQUEST_ID == 1, "is in ITEM");

static int take_line(struct client *c, char *line)
{
	_cleanup_json struct json_object *doc = NULL;
	size_t len = strlen(line), begin = strlen(ITEM);

	if (len > begin + 1 && line[len - 1] == '}' && !memcmp(line, ITEM, begin)) {
		line[len - 1] = '\0';
		return thin_items_add(&c->items, line + begin, len - 1 - begin);
	}
	int r = parse(c, line, &doc);
	return r ? r : take_answer(c, doc);
}

static int take_answers(struct client *c)
{
	int r = 0;

	while (!r && !c->reply) {
		char *line;
		r = thin_wire_receive(&c->wire, &line, -1);
		if (!r)
			r = take_line(c, line);
	}
	return r;
}

static const char *explain(int err)
{
	switch (err) {
	case -ECONNRESET:
	case -EPIPE:
		return "the server went away; what it did is not known: look with "
		       "`thinbd list`";
	case -ETIMEDOUT:
		return "the server does not answer";
	case -EMSGSIZE:
		return "the request is too long";
	default:
		return thin_strerror(err);
	}
}

static int converse(struct client *c, const char *request, struct thin_error *e)
{
	int r = greet(c, e);

	if (!r)
		r = send_request(c, request);
	return r ? r : take_answers(c);
}

static int connect_to(const char *dir, int *ret_fd)
{
	struct thin_control_address address;
	int r = thin_control_address_init(&address, dir);

	if (r)
		return r == -ENOTDIR ? -ENOENT : r;
	r = thin_control_connect(&address, ret_fd);
	thin_control_address_fini(&address);
	return r;
}

int thin_client_call(const char *dir, const char *request, bool streams, bool text,
		     const struct thinbd_observer *observer, char **ret_reply,
		     struct thin_error *e)
{
	struct client c = {.observer = observer, .streams = streams};
	int fd;
	int r = connect_to(dir, &fd);

	if (r == -ENOENT)
		return r;
	if (r)
		return thin_error_set(e, r, "%s/" THIN_CONTROL_SOCKET ": %s", dir,
				      thin_strerror(r));
	thin_wire_init(&c.wire, fd);
	c.tok = json_tokener_new_ex(MAX_DEPTH);
	r = c.tok ? thin_items_init(&c.items, text, observer) : -ENOMEM;
	if (!r) {
		r = converse(&c, request, e);
		thin_items_fini(&c.items);
	}
	if (c.tok)
		json_tokener_free(c.tok);
	thin_wire_fini(&c.wire);
	if (r)
		return thin_error_default(e, r, "%s/" THIN_CONTROL_SOCKET ": %s", dir,
					  explain(r));
	*ret_reply = c.reply;
	return 0;
}
