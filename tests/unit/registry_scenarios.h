/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_REGISTRY_SCENARIOS_H
#define THINBD_TESTS_REGISTRY_SCENARIOS_H

/*
 * Changes of a registry, of every kind, with what they do to the metadata;
 * for the tests that let them crash or fail.
 */

#include "files_model.h"

#include "registry/journal.h"
#include "registry/volumes.h"

/* The metadata, as far as it matters: a bit for each device that it has. */
struct devices {
	uint32_t bits;
};

static inline int device_exists(void *ctx, uint32_t device, bool *ret)
{
	*ret = ((struct devices *)ctx)->bits >> device & 1;
	return 0;
}

static inline int open_registry(struct model *m, struct devices *d, bool readonly,
				struct thin_registry **ret, struct thin_error *e)
{
	struct thin_registry_params p = {
		.files = &m->files,
		.readonly = readonly,
		.journal_bytes = 4 * THIN_JOURNAL_SECTOR, /* three small changes */
		.device_exists = device_exists,
		.ctx = d,
	};

	return thin_registry_open(&p, ret, e);
}

/* ---- the pool before ---- */

static inline struct thin_volume_conf *volume(const char *name, uint32_t device,
					      const char *parent)
{
	struct thin_volume_conf *v;

	assert_int_equal(thin_volume_conf_new(name, &v), 0);
	v->device = device;
	v->size = UINT64_C(1) << 30;
	assert_int_equal(thin_string_set(&v->parent, parent), 0);
	return v;
}

static inline void put_volume(struct model *m, struct thin_volume_conf *v)
{
	char file[THIN_VOLUME_FILE_MAX], *text;
	struct model_inode *inode;
	size_t len;

	assert_int_equal(thin_volume_conf_print(v, &text, &len), 0);
	inode = model_inode(text, len);
	inode->synced = true;
	model_add(&m->now, thin_volume_file(v->name, file), inode);
	m->durable = m->now;
	free(text);
	thin_volume_conf_put(v);
}

#define BEFORE_BITS 0x3eu

static inline void make_pool(struct model *m)
{
	struct thin_volume_conf *user = volume("user", 4, NULL);

	model_init(m);
	put_volume(m, volume("vm1", 1, NULL));
	put_volume(m, volume("vm1@mon", 2, "vm1"));
	put_volume(m, volume("vm2", 3, NULL));
	assert_int_equal(thin_string_set(&user->origin, "thin:vm1"), 0);
	put_volume(m, user);
	put_volume(m, volume(".deleting-5", 5, NULL));
}

/*
 * How many changes there were before: none, so that the journal is made; some
 * that are in it; as many as it holds, so that it begins anew.
 */
static const unsigned warm_ups[] = {0, 1, 3};

static inline void warm_up(struct thin_registry *reg, unsigned times)
{
	struct thin_error e = {""};

	for (unsigned i = 0; i < times; i++) {
		_cleanup_volume_conf struct thin_volume_conf *v = volume("user", 4, NULL);
		struct thin_change change = {THIN_CHANGE_UPDATE, .volume = v};

		v->size += (i + 1) * UINT64_C(4096);
		assert_int_equal(thin_string_set(&v->origin, "thin:vm1"), 0);
		if (thin_registry_change(reg, &change, 1, &e))
			fail_msg("%s", e.text);
	}
}

/* The pool, open, after so many changes. */
static inline struct thin_registry *open_pool(struct model *m, struct devices *d,
					      unsigned times)
{
	struct thin_registry *reg;
	struct thin_error e = {""};

	make_pool(m);
	d->bits = BEFORE_BITS;
	if (open_registry(m, d, false, &reg, &e))
		fail_msg("%s", e.text);
	warm_up(reg, times);
	return reg;
}

/* ---- the changes ---- */

#define MAX_CHANGES 6

struct scenario {
	const char *name;
	uint32_t make;	 /* devices that the commit makes */
	uint32_t remove; /* and those that it removes */
	/* Fills @c, whose volumes are freed afterwards; returns how many. */
	size_t (*changes)(struct thin_change *c);
};

static inline size_t create_one(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_CREATE, .volume = volume("new", 8, NULL)};
	return 1;
}

/* So many that they are synced together. */
static inline size_t create_many(struct thin_change *c)
{
	for (uint32_t i = 0; i < 6; i++) {
		char name[] = {'n', (char)('a' + i), '\0'};

		c[i] = (struct thin_change){THIN_CHANGE_CREATE,
					    .volume = volume(name, 8 + i, NULL)};
	}
	return 6;
}

static inline size_t snapshot_group(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_CREATE,
				    .volume = volume("vm1@tue", 8, "vm1")};
	c[1] = (struct thin_change){THIN_CHANGE_CREATE,
				    .volume = volume("vm2@tue", 9, "vm2")};
	return 2;
}

static inline size_t delete_one(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_DELETE, .name = "vm2"};
	return 1;
}

/* One of them is another's parent. */
static inline size_t delete_two(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_DELETE, .name = "vm1"};
	c[1] = (struct thin_change){THIN_CHANGE_DELETE, .name = "vm2"};
	return 2;
}

static inline size_t replace_one(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_DELETE, .name = "vm2"};
	c[1] = (struct thin_change){THIN_CHANGE_CREATE, .volume = volume("vm2", 8, NULL)};
	return 2;
}

static inline size_t bury_one(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_DELETE, .name = "vm1", .bury = true};
	return 1;
}

static inline size_t end_of_tombstone(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_DELETE, .name = ".deleting-5"};
	return 1;
}

/* Its child and the user of its origin go with it. */
static inline size_t rename_one(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_RENAME, .name = "vm1", .new_name = "a"};
	return 1;
}

static inline size_t exchange_two(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_RENAME, .name = "vm1", .new_name = "tmp"};
	c[1] = (struct thin_change){THIN_CHANGE_RENAME, .name = "vm2", .new_name = "vm1"};
	c[2] = (struct thin_change){THIN_CHANGE_RENAME, .name = "tmp", .new_name = "vm2"};
	return 3;
}

static inline size_t set_one(struct thin_change *c)
{
	struct thin_volume_conf *v = volume("vm2", 3, NULL);

	v->readonly = true;
	assert_int_equal(thin_string_set(&v->description, "the database"), 0);
	c[0] = (struct thin_change){THIN_CHANGE_UPDATE, .volume = v};
	return 1;
}

static inline size_t resize_one(struct thin_change *c)
{
	struct thin_volume_conf *v = volume("vm2", 3, NULL);

	v->size = 4096;
	v->shrinking = true;
	c[0] = (struct thin_change){THIN_CHANGE_UPDATE, .volume = v};
	return 1;
}

/* To a snapshot of the snapshot; the old device goes at once, or later. */
static inline size_t rollback(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_UPDATE, .volume = volume("vm1", 8, NULL)};
	return 1;
}

static inline size_t rollback_burying(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_UPDATE, .volume = volume("vm1", 8, NULL),
				    .bury = true};
	return 1;
}

static inline size_t everything(struct thin_change *c)
{
	c[0] = (struct thin_change){THIN_CHANGE_CREATE,
				    .volume = volume("new", 8, "vm1")};
	c[1] = (struct thin_change){THIN_CHANGE_DELETE, .name = "vm2"};
	c[2] = (struct thin_change){THIN_CHANGE_RENAME, .name = "vm1", .new_name = "vm2"};
	return 3;
}

static const struct scenario scenarios[] = {
	{"create", 1u << 8, 0, create_one},
	{"snapshot group", 3u << 8, 0, snapshot_group},
	{"delete", 0, 1u << 3, delete_one},
	{"delete two", 0, 1u << 3 | 1u << 1, delete_two},
	{"replace", 1u << 8, 1u << 3, replace_one},
	{"bury", 0, 0, bury_one},
	{"end of a tombstone", 0, 1u << 5, end_of_tombstone},
	{"rename", 0, 0, rename_one},
	{"exchange", 0, 0, exchange_two},
	{"set", 0, 0, set_one},
	{"resize", 0, 0, resize_one},
	{"rollback", 1u << 8, 1u << 1, rollback},
	{"rollback, burying", 1u << 8, 0, rollback_burying},
	{"everything", 1u << 8, 1u << 3, everything},
	{"create many", 0x3fu << 8, 0, create_many},
};

static inline bool wants_commit(const struct scenario *s)
{
	return s->make || s->remove;
}

static inline uint32_t bits_after(const struct scenario *s)
{
	return (BEFORE_BITS | s->make) & ~s->remove;
}

/* Begin the scenario's change. */
static inline int begin(const struct scenario *s, struct thin_registry *reg,
			struct thin_error *e)
{
	struct thin_change c[MAX_CHANGES];
	size_t nr = s->changes(c);
	int r = thin_registry_begin(reg, c, nr, e);

	for (size_t i = 0; i < nr; i++)
		thin_volume_conf_put(c[i].volume);
	return r;
}

/* ---- what is there ---- */

#define STATE_TEXT 8192

/* All that a registry says, as a text. */
static inline void say_list(struct thin_volume_list *list, char ret[STATE_TEXT])
{
	for (size_t i = 0; i < list->nr; i++) {
		size_t len = strlen(ret), text_len;
		char *text;

		assert_int_equal(thin_volume_conf_print(list->at[i], &text, &text_len),
				 0);
		len += (size_t)snprintf(ret + len, STATE_TEXT - len, "%s:%s%s\n",
					list->at[i]->name,
					list->at[i]->problem ? " PROBLEM" : "", text);
		assert_true(len < STATE_TEXT);
		free(text);
	}
	thin_volume_list_fini(list);
}

static inline void say(struct thin_registry *reg, char ret[STATE_TEXT])
{
	struct thin_volume_list list;

	*ret = '\0';
	assert_int_equal(thin_registry_list(reg, &list), 0);
	say_list(&list, ret);
	assert_int_equal(thin_registry_tombstones(reg, &list), 0);
	say_list(&list, ret);
}

/* What the pool is before and after the scenario; so many events until then. */
struct states {
	char before[STATE_TEXT], after[STATE_TEXT];
	size_t events_warm, events_begin, events_finish, events_all;
};

static inline void run_well(const struct scenario *s, unsigned warm, struct states *ret)
{
	struct devices d;
	struct thin_error e = {""};
	struct thin_registry *reg;
	struct model m;

	reg = open_pool(&m, &d, warm);
	ret->events_warm = m.events;
	say(reg, ret->before);
	if (begin(s, reg, &e))
		fail_msg("%s: %s", s->name, e.text);
	ret->events_begin = m.events;
	thin_registry_finish(reg);
	ret->events_finish = m.events;
	say(reg, ret->after);
	thin_registry_close(reg);
	ret->events_all = m.events;
	assert_string_not_equal(ret->before, ret->after);
}

#endif
