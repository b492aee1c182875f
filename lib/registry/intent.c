/* SPDX-License-Identifier: BSD-3-Clause */
/* An intent in memory: made from two tables, and what decides about it. */
#include "registry/intent.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void thin_intent_fini(struct thin_intent *in)
{
	for (size_t i = 0; i < in->nr_put; i++)
		thin_volume_conf_put(in->put[i]);
	for (size_t i = 0; i < in->nr_remove; i++)
		free(in->remove[i]);
	free(in->put);
	free(in->remove);
	free(in->appear.at);
	free(in->vanish.at);
	*in = (struct thin_intent){0};
}

bool thin_intent_empty(const struct thin_intent *in)
{
	return !in->nr_put && !in->nr_remove;
}

bool thin_intent_wants_commit(const struct thin_intent *in)
{
	return in->appear.nr || in->vanish.nr;
}

static int grow_put(struct thin_intent *in, struct thin_volume_conf *v)
{
	void *at = reallocarray(in->put, in->nr_put + 1, sizeof(*in->put));

	if (!at)
		return -ENOMEM;
	in->put = at;
	in->put[in->nr_put++] = v;
	(void)thin_volume_conf_get(v);
	return 0;
}

static int grow_remove(struct thin_intent *in, const char *name)
{
	void *at = reallocarray(in->remove, in->nr_remove + 1, sizeof(*in->remove));
	char *copy;

	if (!at)
		return -ENOMEM;
	in->remove = at;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	in->remove[in->nr_remove++] = copy;
	return 0;
}

static int note_difference(void *ctx, struct thin_volume_conf *old,
			   struct thin_volume_conf *new)
{
	return new ? grow_put(ctx, new) : grow_remove(ctx, old->name);
}

static int grow_ids(struct thin_ids *ids, uint32_t device)
{
	void *at = reallocarray(ids->at, ids->nr + 1, sizeof(*ids->at));

	if (!at)
		return -ENOMEM;
	ids->at = at;
	ids->at[ids->nr++] = device;
	return 0;
}

/*
 * The devices of @t that @other does not have, and of which the metadata
 * says @there.
 */
static int missing_ids(const struct thin_table *t, const struct thin_table *other,
		       bool there, thin_device_exists_fn *exists, void *ctx,
		       struct thin_ids *ret)
{
	for (size_t i = 0; i < t->nr_devices; i++) {
		uint32_t device = t->by_device[i]->device;
		bool is_there;
		int r;

		/* Most are the same in both tables, in nearly the same place. */
		if (i < other->nr_devices && other->by_device[i]->device == device)
			continue;
		if (thin_table_find_device(other, device))
			continue;
		r = exists(ctx, device, &is_there);
		if (!r && is_there == there)
			r = grow_ids(ret, device);
		if (r)
			return r;
	}
	return 0;
}

int thin_intent_make(const struct thin_table *before, const struct thin_table *after,
		     thin_device_exists_fn *exists, void *ctx, struct thin_intent *ret)
{
	struct thin_intent in = {0};
	int r;

	r = thin_table_diff(before, after, note_difference, &in);
	if (!r)
		r = missing_ids(after, before, false, exists, ctx, &in.appear);
	if (!r)
		r = missing_ids(before, after, true, exists, ctx, &in.vanish);
	if (r)
		thin_intent_fini(&in);
	else
		*ret = in;
	return r;
}

/* ---- two of them ---- */

static void forget_put(struct thin_intent *in, const char *name)
{
	for (size_t i = 0; i < in->nr_put; i++)
		if (!strcmp(in->put[i]->name, name)) {
			thin_volume_conf_put(in->put[i]);
			in->put[i] = in->put[--in->nr_put];
			return;
		}
}

static void forget_remove(struct thin_intent *in, const char *name)
{
	for (size_t i = 0; i < in->nr_remove; i++)
		if (!strcmp(in->remove[i], name)) {
			free(in->remove[i]);
			in->remove[i] = in->remove[--in->nr_remove];
			return;
		}
}

/* What @later says of a name takes the place of what was said. */
static void forget_names(struct thin_intent *in, const struct thin_intent *later)
{
	for (size_t i = 0; i < later->nr_remove && !thin_intent_empty(in); i++) {
		forget_put(in, later->remove[i]);
		forget_remove(in, later->remove[i]);
	}
	for (size_t i = 0; i < later->nr_put && !thin_intent_empty(in); i++) {
		forget_put(in, later->put[i]->name);
		forget_remove(in, later->put[i]->name);
	}
}

int thin_intent_merge(struct thin_intent *in, const struct thin_intent *later)
{
	int r = 0;

	forget_names(in, later);

	for (size_t i = 0; !r && i < later->nr_remove; i++)
		r = grow_remove(in, later->remove[i]);
	for (size_t i = 0; !r && i < later->nr_put; i++)
		r = grow_put(in, later->put[i]);
	return r;
}

bool thin_intent_touches(const struct thin_intent *in, const char *name)
{
	for (size_t i = 0; i < in->nr_remove; i++)
		if (!strcmp(in->remove[i], name))
			return true;
	for (size_t i = 0; i < in->nr_put; i++)
		if (!strcmp(in->put[i]->name, name))
			return true;
	return false;
}

/* What the devices looked at so far say. */
struct verdict {
	bool any, happened;
	uint32_t device; /* one that said so */
};

/* Ask for all of @ids; they exist exactly if the change happened, or not. */
static int ask(const struct thin_ids *ids, bool exist_if_happened,
	       thin_device_exists_fn *exists, void *ctx, struct verdict *v,
	       struct thin_error *e)
{
	for (size_t i = 0; i < ids->nr; i++) {
		bool there, happened;
		int r;

		r = exists(ctx, ids->at[i], &there);
		if (r)
			return r;
		happened = there == exist_if_happened;
		if (v->any && happened != v->happened)
			return thin_error_set(e, -EUCLEAN,
					      "a change was interrupted, and the "
					      "metadata has since been "
					      "changed by others: devices %" PRIu32
					      " and %" PRIu32
					      " do not fit together; see `thinbd check`",
					      v->device, ids->at[i]);
		*v = (struct verdict){true, happened, ids->at[i]};
	}
	return 0;
}

int thin_intent_decide(const struct thin_intent *in, thin_device_exists_fn *exists,
		       void *ctx, bool *ret_happened, struct thin_error *e)
{
	struct verdict v = {.happened = true};
	int r;

	r = ask(&in->appear, true, exists, ctx, &v, e);
	if (!r)
		r = ask(&in->vanish, false, exists, ctx, &v, e);
	if (!r)
		*ret_happened = v.happened;
	return r;
}
