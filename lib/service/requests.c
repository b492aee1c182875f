/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a request to a reply: looks up who answers the verb, sees to what the
 * verb needs, and wraps what comes out.
 */
#include "service/requests.h"

#include "service/check.h"
#include "service/init.h"
#include "service/restore.h"
#include "util/lock.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* How long clients may take to go, and how often to look. */
#define PATIENCE_NS (UINT64_C(1) * 1000000000)
#define NAP_NS	    10000000

static const struct {
	const char *verb;
	thin_handler *handler;
	bool locked; /* under t->lock from begin to end */
} handlers[] = {
	{"init", thin_do_init_again, false},
	{"create", thin_do_create, true},
	{"snapshot", thin_do_snapshot, true},
	{"delete", thin_do_delete, false},
	{"rename", thin_do_rename, true},
	{"set", thin_do_set, true},
	{"resize", thin_do_resize, false},
	{"rollback", thin_do_rollback, false},
	{"flatten", thin_do_flatten, false},
	{"list", thin_do_list, false},
	{"show", thin_do_show, false},
	{"map", thin_do_map, false},
	{"diff", thin_do_diff, false},
	{"status", thin_do_status, false},
	{"grow", thin_do_grow, true},
	{"check", thin_do_check, false},
	{"dump", thin_do_dump, false},
	{"message", thin_do_message, false},
	{"restore-metadata", thin_do_restore, false},
};

#define NR_HANDLERS (sizeof(handlers) / sizeof(handlers[0]))

int thin_progress(const struct thin_call *c, uint64_t done, uint64_t total)
{
	if (!c->observer || !c->observer->progress)
		return 0;
	return c->observer->progress(c->observer->ctx, done, total) ? -ECANCELED : 0;
}

/*
 * Where blocks can't be changed nothing is begun, not even what the registry could do
 * alone: shrinking would stop half-way.
 */
static int check_mode(struct thinbd *t, struct thin_error *e)
{
	struct thin_pool_status s;

	thin_pool_status(t->pool, &s);
	if (s.mode == THIN_MODE_FAIL)
		return thin_error_set(
			e, -ESHUTDOWN,
			"%s: nothing can be changed: a flush has failed; see "
			"to the device, and open the pool again",
			t->dir);
	if (s.mode == THIN_MODE_READ_ONLY)
		return thin_error_set(e, -EROFS,
				      "%s: nothing can be changed: writing the metadata "
				      "has failed; see `thinbd check`",
				      t->dir);
	return 0;
}

static int may_do(struct thinbd *t, const struct thinbd_verb *verb, struct thin_error *e)
{
	/* These look for themselves at what they may. */
	bool changes = (verb->flags & THINBD_VERB_CHANGES) &&
		       strcmp(verb->name, "check") && strcmp(verb->name, "init") &&
		       strcmp(verb->name, "restore-metadata");

	if (!t->registry)
		return thin_error_set(e, -ENOTSUP,
				      "a pool without a folder takes no requests");
	if (changes && t->read_only)
		return thin_error_set(e, -EROFS, "%s: nothing can be changed: %s", t->dir,
				      t->why_read_only);
	return changes ? check_mode(t, e) : 0;
}

/* Origins that the verb lacks a look at are looked at in between: without the lock. */
static int handle_locked(struct thin_call *c, thin_handler *handler,
			 struct json_object **ret, struct thin_error *e)
{
	int r;

	do {
		thin_mutex_lock(&c->t->lock);
		r = handler(c, ret, e);
		thin_mutex_unlock(&c->t->lock);
	} while (r == -EAGAIN && thin_looks_go(c->looks));
	return r;
}

static int handle(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const struct thinbd_verb *verb = c->args->verb;
	int r = may_do(c->t, verb, e);

	for (size_t i = 0; i < NR_HANDLERS && !r; i++)
		if (!strcmp(handlers[i].verb, verb->name))
			return handlers[i].locked
				       ? handle_locked(c, handlers[i].handler, ret, e)
				       : handlers[i].handler(c, ret, e);
	return r ? r : -ENOTSUP;
}

/*
 * Who has hung up is a client until the server has noticed: where clients are in
 * the way (-EISCONN), and nothing has been done yet, they get a moment to go.
 */
static int handle_patiently(struct thin_call *c, struct json_object **ret,
			    struct thin_error *e)
{
	struct timespec nap = {.tv_nsec = NAP_NS};
	int r = handle(c, ret, e);
	uint64_t deadline_ns = thin_now_ns() + PATIENCE_NS;

	while (r == -EISCONN && thin_now_ns() < deadline_ns) {
		(void)nanosleep(&nap, NULL);
		e->text[0] = '\0';
		r = handle(c, ret, e);
	}
	return r == -EISCONN ? -EBUSY : r;
}

static char *answer(struct thinbd *t, const struct thin_args *args,
		    const struct thinbd_observer *observer)
{
	bool streams = args->verb->flags & THINBD_VERB_STREAMS;
	struct json_object *result = NULL;
	struct thin_looks looks = {0};
	struct thin_error e = {0};
	struct thin_items items;

	if (thin_items_init(&items, args->verb->flags & THINBD_VERB_TEXT, observer))
		return NULL;
	struct thin_call c = {
		.t = t,
		.args = args,
		.observer = observer,
		.items = &items,
		.looks = &looks,
	};
	int r = handle_patiently(&c, &result, &e);
	char *reply = r ? thin_reply_error(r, &e)
			: thin_reply_result(streams ? thin_items_result(&items) : result);
	thin_items_fini(&items);
	thin_looks_fini(&looks);
	return reply;
}

int thinbd_request(struct thinbd *t, const char *request,
		   const struct thinbd_observer *observer, char **ret_reply)
{
	struct thin_error e = {0};
	struct thin_args args;
	char *reply;
	int r = thin_args_parse(request, &args, &e);

	if (r) {
		reply = thin_reply_error(r, &e);
	} else {
		reply = answer(t, &args, observer);
		thin_args_fini(&args);
	}
	if (!reply)
		return -ENOMEM;
	*ret_reply = reply;
	return 0;
}

/* --- a pool that nobody serves ------------------------------------------- */

static char *wrap(int r, struct json_object *result, const struct thin_error *e)
{
	return r ? thin_reply_error(r, e) : thin_reply_result(result);
}

static char *open_and_answer(const char *dir, const struct thin_args *args,
			     const struct thinbd_observer *observer, bool *ret_busy)
{
	struct thinbd_params params = {
		.dir = dir,
		.read_only = !(args->verb->flags & THINBD_VERB_CHANGES),
	};
	struct thin_error e = {0};
	struct thinbd *t;
	int r = thin_service_open(&params, ret_busy, &t, &e);

	if (r)
		return thin_reply_error(r, &e);
	char *reply = answer(t, args, observer);
	thin_bury_rest(t);
	(void)thinbd_close(t); /* what was done is durable already */
	return reply;
}

void thin_call_offline(const char *dir, const struct thin_args *args,
		       const struct thinbd_observer *observer, bool *ret_busy,
		       char **ret_reply)
{
	struct json_object *result = NULL;
	struct thin_error e = {0};
	int r;

	*ret_busy = false;
	if (!strcmp(args->verb->name, "init")) {
		r = thin_init(dir, args, &result, &e);
		*ret_reply = wrap(r, result, &e);
	} else if (!strcmp(args->verb->name, "check")) {
		r = thin_check_offline(dir, args, observer, &result, &e);
		*ret_busy = r == -EBUSY;
		*ret_reply = wrap(r, result, &e);
	} else if (!strcmp(args->verb->name, "restore-metadata")) {
		r = thin_restore_offline(dir, args, &result, &e);
		*ret_busy = r == -EBUSY;
		*ret_reply = wrap(r, result, &e);
	} else {
		*ret_reply = open_and_answer(dir, args, observer, ret_busy);
	}
}
