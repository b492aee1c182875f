/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dm-thin's messages.  They know devices by number and no names: a device
 * that a message makes has none, is listed as "#ID", and can be served in
 * table style; one that a message deletes takes its name with it.
 */
#include "service/requests.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 3

struct words {
	char *text; /* owned; the words are in it */
	char *at[MAX_WORDS];
	size_t nr;
};

static int split(const char *text, struct words *ret)
{
	char *save = NULL;

	*ret = (struct words){.text = strdup(text)};
	if (!ret->text)
		return -ENOMEM;
	for (char *w = strtok_r(ret->text, " \t", &save); w;
	     w = strtok_r(NULL, " \t", &save)) {
		if (ret->nr == MAX_WORDS)
			return -EINVAL;
		ret->at[ret->nr++] = w;
	}
	return ret->nr ? 0 : -EINVAL;
}

/* Decimal digits only: no signs, no blanks. */
static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

/* --- one function a message ---------------------------------------------- */

/*
 * A device that is not all gone yet has its number until its tombstone is
 * gone, too: what got it before would be taken for the one that was deleted.
 */
static bool is_going(struct thin_call *c, uint64_t device)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;

	return !thin_registry_find_device(c->t->registry, (uint32_t)device, &v) &&
	       thin_is_tombstone(v->name);
}

static int create_thin(struct thin_call *c, const uint64_t *n)
{
	if (is_going(c, n[0]))
		return -EEXIST;
	return thin_pool_create_thin(c->t->pool, (uint32_t)n[0]);
}

static int create_snap(struct thin_call *c, const uint64_t *n)
{
	struct thin_snap_pair pair = {.snap = (uint32_t)n[0], .origin = (uint32_t)n[1]};

	if (is_going(c, pair.snap))
		return -EEXIST;
	return is_going(c, pair.origin) ? -ENOENT
					: thin_pool_snapshot(c->t->pool, &pair, 1);
}

static int set_transaction_id(struct thin_call *c, const uint64_t *n)
{
	return thin_pool_set_transaction_id(c->t->pool, n[0], n[1]);
}

static int hold(struct thin_call *c, const uint64_t *n)
{
	(void)n;
	return thin_pool_hold(c->t->pool);
}

static int unhold(struct thin_call *c, const uint64_t *n)
{
	(void)n;
	return thin_pool_unhold(c->t->pool);
}

static const struct {
	const char *name;
	size_t nr_numbers;
	uint64_t max; /* of each number */
	int (*fn)(struct thin_call *c, const uint64_t *n);
} messages[] = {
	{"create_thin", 1, THIN_MAX_DEVICE_ID, create_thin},
	{"create_snap", 2, THIN_MAX_DEVICE_ID, create_snap},
	{"delete", 1, THIN_MAX_DEVICE_ID, NULL}, /* has a way of its own */
	{"set_transaction_id", 2, UINT64_MAX, set_transaction_id},
	{"reserve_metadata_snap", 0, 0, hold},
	{"release_metadata_snap", 0, 0, unhold},
};

/* -ENODATA: it has no name, and nobody gives it one, since it is there. */
static int find_named(struct thinbd *t, uint32_t device, struct thin_volume_list *list)
	THIN_REQUIRES(t->lock)
{
	struct thin_device_info info;
	int r;

	list->at = calloc(1, sizeof(*list->at));
	if (!list->at)
		return -ENOMEM;
	if (!thin_registry_find_device(t->registry, device, &list->at[0])) {
		list->nr = 1;
		return 0;
	}
	r = thin_pool_next_device(t->pool, device, &info);
	if (r || info.id != device)
		return r ? r : -ENOENT;
	return -ENODATA;
}

/* With its name, where it has one. */
static int delete_device(struct thin_call *c, uint32_t device, struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	struct thin_deletion d = {.wait = true};
	bool buried = false;

	thin_mutex_lock(&c->t->lock);
	int r = find_named(c->t, device, &list);
	if (!r)
		buried = thin_is_tombstone(list.at[0]->name);
	if (!r && !buried)
		r = thin_delete_begin(c->t, &list, &d, e);
	thin_mutex_unlock(&c->t->lock);
	if (r == -ENODATA)
		return thin_pool_delete(c->t->pool, &device, 1);
	if (r)
		return r;
	return buried ? thin_bury(c->t, &device, 1, e)
		      : thin_delete_end(c->t, &list, &d, e);
}

static int do_message(struct thin_call *c, const struct words *w, struct thin_error *e)
{
	uint64_t n[MAX_WORDS - 1];

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		if (strcasecmp(w->at[0], messages[i].name) != 0)
			continue;
		if (w->nr != messages[i].nr_numbers + 1)
			return -EINVAL;
		for (size_t j = 0; j + 1 < w->nr; j++)
			if (parse_number(w->at[j + 1], messages[i].max, &n[j]))
				return -EINVAL;
		if (!messages[i].fn)
			return delete_device(c, (uint32_t)n[0], e);
		thin_mutex_lock(&c->t->lock);
		int r = messages[i].fn(c, n);
		thin_mutex_unlock(&c->t->lock);
		return r;
	}
	return -EINVAL;
}

int thin_do_message(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *text = thin_arg_text(c->args, "text");
	struct words w;
	int r = split(text, &w);

	if (!r)
		r = do_message(c, &w, e);
	free(w.text);
	if (r)
		return thin_error_default(e, r, "message '%.64s': %s", text,
					  thin_strerror(r));
	*ret = thin_json_string("");
	return 0;
}
