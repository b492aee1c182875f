/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/changes.h"

#include "registry/name.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int thin_table_find_good(const struct thin_table *t, const char *name,
			 struct thin_volume_conf **ret, struct thin_error *e)
{
	struct thin_volume_conf *v = thin_table_find(t, name);

	if (!v)
		return thin_error_set(e, -ENOENT, "%s: there is no such volume", name);
	if (v->problem)
		return thin_error_set(e, -EINVAL, "%s", v->problem);
	*ret = v;
	return 0;
}

/* Put @v, which the table does not know yet, in the place of its name's record. */
static int replace(struct thin_table *t, struct thin_volume_conf *v, struct thin_error *e)
{
	thin_table_remove(t, v->name);
	return thin_table_insert(t, v, e);
}

static int bury(struct thin_table *t, const struct thin_volume_conf *v, const char *born,
		struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *tombstone = NULL;
	int r;

	r = thin_volume_conf_tombstone(v, born, &tombstone);
	return r ? r : thin_table_insert(t, tombstone, e);
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

/* Whoever has @name as parent gets @parent; as origin, @origin in its place. */
static int refer_anew(struct thin_table *t, const char *name, const char *parent,
		      const char *origin)
{
	char as_origin[sizeof("thin:") + THIN_NAME_MAX];

	snprintf(as_origin, sizeof(as_origin), "thin:%s", name);
	for (size_t i = 0; i < t->nr; i++) {
		_cleanup_volume_conf struct thin_volume_conf *v = NULL;
		bool child = same(t->by_name[i]->parent, name);
		bool user = same(t->by_name[i]->origin, as_origin);
		int r;

		if (!child && !user)
			continue;
		r = thin_volume_conf_copy(t->by_name[i], &v);
		if (!r && child)
			r = thin_string_set(&v->parent, parent);
		if (!r && user)
			r = thin_string_set(&v->origin, origin);
		/* The name is the same, and so is its place in the table. */
		if (!r)
			r = replace(t, v, NULL);
		if (r)
			return r;
	}
	return 0;
}

static int make_create(const struct thin_change *c, struct thin_table *t,
		       struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	int r;

	r = thin_name_check(c->volume->name, e);
	if (!r)
		r = thin_volume_conf_check(c->volume, e);
	if (!r)
		r = thin_volume_conf_copy(c->volume, &v);
	return r ? r : thin_table_insert(t, v, e);
}

static int make_update(const struct thin_change *c, struct thin_table *t,
		       struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *v = NULL, *old = NULL;
	struct thin_volume_conf *found;
	int r;

	r = thin_table_find_good(t, c->volume->name, &found, e);
	if (!r)
		r = thin_volume_conf_check(c->volume, e);
	if (!r)
		r = thin_volume_conf_copy(c->volume, &v);
	if (r)
		return r;
	(void)thin_volume_conf_get(found);
	old = found;
	r = replace(t, v, e);
	if (!r && c->bury && old->device != v->device)
		r = bury(t, old, c->born, e);
	return r;
}

/* Its record goes; who refers to it is seen to by forget_parents(). */
static int make_delete(const struct thin_change *c, struct thin_table *t,
		       struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *old = NULL;
	struct thin_volume_conf *found;
	int r;

	r = thin_table_find_good(t, c->name, &found, e);
	if (r)
		return r;
	(void)thin_volume_conf_get(found);
	old = found;
	thin_table_remove(t, c->name);
	return c->bury ? bury(t, old, c->born, e) : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Whoever has one of the @nr deleted volumes as parent has none now. */
static int forget_parents(struct thin_table *t, const struct thin_change *deleted,
			  size_t nr)
{
	_cleanup_free const char **names = calloc(nr, sizeof(*names));
	int r = 0;

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++)
		names[i] = deleted[i].name;
	qsort(names, nr, sizeof(*names), by_name);
	for (size_t i = 0; i < t->nr && !r; i++) {
		_cleanup_volume_conf struct thin_volume_conf *v = NULL;
		const char *parent = t->by_name[i]->parent;

		if (!parent || !bsearch(&parent, names, nr, sizeof(*names), by_name))
			continue;
		r = thin_volume_conf_copy(t->by_name[i], &v);
		if (!r)
			r = thin_string_set(&v->parent, NULL);
		/* The name is the same, and so is its place in the table. */
		if (!r)
			r = replace(t, v, NULL);
	}
	return r;
}

/* Deletions one after the other are one: thousands of them, too. */
static int make_deletes(const struct thin_change *c, size_t nr, struct thin_table *t,
			struct thin_error *e)
{
	for (size_t i = 0; i < nr; i++) {
		int r = make_delete(&c[i], t, e);

		if (r)
			return r;
	}
	return forget_parents(t, c, nr);
}

static int make_rename(const struct thin_change *c, struct thin_table *t,
		       struct thin_error *e)
{
	char as_origin[sizeof("thin:") + THIN_NAME_MAX];
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	struct thin_volume_conf *found;
	int r;

	r = thin_name_check(c->new_name, e);
	if (!r)
		r = thin_table_find_good(t, c->name, &found, e);
	if (!r)
		r = thin_volume_conf_copy(found, &v);
	if (!r)
		r = thin_string_set(&v->name, c->new_name);
	if (r)
		return r;
	thin_table_remove(t, c->name);
	r = thin_table_insert(t, v, e);
	snprintf(as_origin, sizeof(as_origin), "thin:%s", c->new_name);
	return r ? r : refer_anew(t, c->name, c->new_name, as_origin);
}

static int make_change(const struct thin_change *c, struct thin_table *t,
		       struct thin_error *e)
{
	switch (c->kind) {
	case THIN_CHANGE_CREATE:
		return make_create(c, t, e);
	case THIN_CHANGE_UPDATE:
		return make_update(c, t, e);
	case THIN_CHANGE_DELETE: /* make_deletes() */
		break;
	case THIN_CHANGE_RENAME:
		return make_rename(c, t, e);
	}
	assert(!"a kind of change");
	return -EINVAL;
}

/* Tombstones do not count; they come first. */
static size_t nr_volumes(const struct thin_table *t)
{
	size_t first = 0;

	while (first < t->nr && thin_is_tombstone(t->by_name[first]->name))
		first++;
	return t->nr - first;
}

/* What only the whole can tell: a parent may come later in the same group. */
static int check_result(const struct thin_change *changes, size_t nr,
			const struct thin_table *t, size_t nr_before,
			struct thin_error *e)
{
	if (nr_volumes(t) > THIN_MAX_VOLUMES && nr_volumes(t) > nr_before)
		return thin_error_set(e, -EDQUOT,
				      "a pool can not have more than %d volumes",
				      THIN_MAX_VOLUMES);
	for (size_t i = 0; i < nr; i++) {
		const struct thin_volume_conf *v = NULL;
		int r = 0;

		/* It may have been renamed or deleted again since. */
		if (changes[i].volume)
			v = thin_table_find(t, changes[i].volume->name);
		if (v)
			r = thin_table_check_parent(t, v, e);
		if (r)
			return r;
	}
	return 0;
}

/* How many of the @nr changes are deletions, up to the first that is none. */
static size_t deletions(const struct thin_change *changes, size_t nr)
{
	size_t run = 0;

	while (run < nr && changes[run].kind == THIN_CHANGE_DELETE)
		run++;
	return run;
}

int thin_changes_make(const struct thin_change *changes, size_t nr, struct thin_table *t,
		      struct thin_error *e)
{
	size_t nr_before = nr_volumes(t), run;

	for (size_t i = 0; i < nr; i += run) {
		int r;

		run = deletions(changes + i, nr - i);
		if (run) {
			r = make_deletes(changes + i, run, t, e);
		} else {
			r = make_change(&changes[i], t, e);
			run = 1;
		}
		if (r)
			return r;
	}
	return check_result(changes, nr, t, nr_before, e);
}
