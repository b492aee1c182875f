/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registry, when it is open.
 *
 *   state    what may happen         [by]
 *   IDLE     -> PENDING, BROKEN      [begin]
 *            -> BROKEN               [settle]
 *   PENDING  -> IDLE                 [finish]
 *            -> IDLE, BROKEN         [cancel]
 *            -> BROKEN               [abandon]
 *   BROKEN   nobody knows what is on the disk: nothing, until it is opened
 *            again, which decides
 *
 * A change that is finished is durable by the journal; `todo` is what its
 * files, and those of the ones before it, still need.  `next` and `intent`
 * belong to a change that is PENDING.
 */
#include "registry/volumes.h"

#include "registry/journal.h"
#include "registry/load.h"
#include "registry/name.h"
#include "registry/place.h"
#include "util/lock.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum state {
	IDLE,
	PENDING,
	BROKEN
};

struct thin_registry {
	struct thin_registry_params params;

	struct thin_mutex lock;
	struct thin_table table THIN_GUARDED_BY(lock);

	/* Only who changes uses these, and there is one at a time. */
	enum state state;
	struct thin_table next;
	struct thin_intent intent;

	struct thin_journal journal;
	struct thin_intent todo; /* what is in it, put together */
	bool misplaced;		 /* files of it are not in place, as far as we know */
	bool old_journal;	 /* it is one that a crash left */
};

static void report(const struct thin_registry *reg, const struct thin_error *e)
{
	if (reg->params.report)
		reg->params.report(reg->params.ctx, e->text);
}

static void drop_change(struct thin_registry *reg)
{
	thin_intent_fini(&reg->intent);
	thin_table_fini(&reg->next);
}

/* ---- settling ---- */

static int place(struct thin_registry *reg, struct thin_error *e)
{
	struct thin_files *f = reg->params.files;
	int r = thin_place_prepare(f, &reg->todo, e);

	if (!r)
		r = thin_place_move(f, &reg->todo, e);
	reg->misplaced = r;
	return r;
}

static int forget_journal(struct thin_registry *reg, bool *ret_unsure,
			  struct thin_error *e)
{
	int r;

	if (!reg->old_journal)
		return thin_journal_restart(&reg->journal, ret_unsure, e);
	r = thin_journal_remove(&reg->journal, ret_unsure, e);
	reg->old_journal = r;
	return r;
}

/* Make durable what is to be done, after which the journal is not needed. */
static int settle(struct thin_registry *reg, struct thin_error *e)
{
	bool unsure = false;
	int r = 0;

	if (reg->misplaced)
		r = place(reg, e);
	if (!r && !thin_intent_empty(&reg->todo)) {
		r = thin_place_sync(reg->params.files, &reg->todo, e);
		unsure = r;
	}
	if (!r)
		r = forget_journal(reg, &unsure, e);
	if (!r)
		thin_intent_fini(&reg->todo);
	if (unsure)
		reg->state = BROKEN;
	return thin_error_default(e, r, "the registry: %s", thin_strerror(r));
}

static bool is_settled(const struct thin_registry *reg)
{
	return thin_intent_empty(&reg->todo) && !reg->old_journal;
}

bool thin_registry_settle(struct thin_registry *reg)
{
	struct thin_error e = {""};

	if (reg->params.readonly || reg->state != IDLE || is_settled(reg))
		return true;
	if (!settle(reg, &e))
		return true;
	report(reg, &e);
	return false;
}

/* ---- opening ---- */

static void adopt_journal(struct thin_registry *reg)
{
	struct thin_error e = {""};

	reg->old_journal = true;
	reg->misplaced = !thin_intent_empty(&reg->todo);
	if (reg->params.readonly)
		return;
	if (thin_journal_adopt(&reg->journal, &e)) {
		reg->state = BROKEN;
		report(reg, &e);
	}
	(void)thin_registry_settle(reg);
}

static int load(struct thin_registry *reg,
		struct thin_error *e) THIN_NO_THREAD_SAFETY /* nobody else has it yet */
{
	struct thin_load load = {.params = &reg->params};
	int r;

	r = thin_load(&load, &reg->table, &reg->todo, e);
	if (r)
		return r;
	if (load.journal)
		adopt_journal(reg);
	if (!reg->params.readonly)
		thin_load_clean(&load);
	thin_load_fini(&load);
	return 0;
}

int thin_registry_open(const struct thin_registry_params *p, struct thin_registry **ret,
		       struct thin_error *e)
{
	_cleanup_registry struct thin_registry *reg = calloc(1, sizeof(*reg));
	int r;

	if (!reg)
		return -ENOMEM;
	reg->params = *p;
	thin_mutex_init(&reg->lock);
	thin_journal_init(&reg->journal, p->files,
			  p->journal_bytes ? p->journal_bytes : THIN_JOURNAL_BYTES);
	r = load(reg, e);
	if (r)
		return r;
	*ret = thin_steal(reg);
	return 0;
}

/* All of it is settled. */
static void remove_journal(struct thin_registry *reg)
{
	struct thin_error e = {""};
	bool unsure;

	if (reg->journal.bytes && thin_journal_remove(&reg->journal, &unsure, &e))
		report(reg, &e);
}

void thin_registry_close(struct thin_registry *reg) THIN_NO_THREAD_SAFETY
{
	if (!reg)
		return;
	if (thin_registry_settle(reg) && reg->state == IDLE)
		remove_journal(reg);
	drop_change(reg);
	thin_intent_fini(&reg->todo);
	thin_table_fini(&reg->table);
	thin_mutex_fini(&reg->lock);
	free(reg);
}

/* ---- reading ---- */

int thin_registry_find(struct thin_registry *reg, const char *name,
		       const struct thin_volume_conf **ret, struct thin_error *e)
{
	struct thin_volume_conf *v;
	int r;

	if (thin_name_check(name, e))
		return -ENOENT;
	thin_mutex_lock(&reg->lock);
	r = thin_table_find_good(&reg->table, name, &v, e);
	if (!r)
		*ret = thin_volume_conf_get(v);
	thin_mutex_unlock(&reg->lock);
	return r;
}

int thin_registry_find_device(struct thin_registry *reg, uint32_t device,
			      const struct thin_volume_conf **ret)
{
	struct thin_volume_conf *v;

	thin_mutex_lock(&reg->lock);
	v = thin_table_find_device(&reg->table, device);
	if (v)
		*ret = thin_volume_conf_get(v);
	thin_mutex_unlock(&reg->lock);
	return v ? 0 : -ENOENT;
}

uint32_t thin_registry_free_device(struct thin_registry *reg, uint32_t from)
{
	uint32_t device;

	thin_mutex_lock(&reg->lock);
	device = thin_table_free_device(&reg->table, from);
	thin_mutex_unlock(&reg->lock);
	return device;
}

void thin_volume_list_fini(struct thin_volume_list *list)
{
	for (size_t i = 0; i < list->nr; i++)
		thin_volume_conf_put(list->at[i]);
	free(list->at);
	*list = (struct thin_volume_list){0};
}

static int list_records(struct thin_registry *reg, bool tombstones,
			struct thin_volume_list *ret)
{
	struct thin_volume_list list = {0};

	thin_mutex_lock(&reg->lock);
	list.at = calloc(reg->table.nr + 1, sizeof(*list.at));
	for (size_t i = 0; list.at && i < reg->table.nr; i++) {
		const struct thin_volume_conf *v = reg->table.by_name[i];

		if (thin_is_tombstone(v->name) == tombstones)
			list.at[list.nr++] = thin_volume_conf_get(v);
	}
	thin_mutex_unlock(&reg->lock);
	if (!list.at)
		return -ENOMEM;
	*ret = list;
	return 0;
}

int thin_registry_list(struct thin_registry *reg, struct thin_volume_list *ret)
{
	return list_records(reg, false, ret);
}

int thin_registry_tombstones(struct thin_registry *reg, struct thin_volume_list *ret)
{
	return list_records(reg, true, ret);
}

/* ---- changing ---- */

static int check_state(struct thin_registry *reg, struct thin_error *e)
{
	assert(reg->state != PENDING);
	if (reg->params.readonly)
		return thin_error_set(e, -EROFS, "the pool is open read-only");
	if (reg->state == BROKEN)
		return thin_error_set(e, -ESHUTDOWN,
				      "%s could not be written before: nothing can be "
				      "changed until the pool is opened again",
				      reg->params.files->where);
	return reg->misplaced || reg->old_journal ? settle(reg, e) : 0;
}

static int copy_table(struct thin_registry *reg, struct thin_table *ret)
{
	int r;

	thin_mutex_lock(&reg->lock);
	r = thin_table_copy(&reg->table, ret);
	thin_mutex_unlock(&reg->lock);
	return r;
}

/*
 * Work out what @changes amount to; nothing is written.  From a copy, so
 * that the lock is not held where device_exists() takes others.
 */
static int prepare(struct thin_registry *reg, const struct thin_change *changes,
		   size_t nr, struct thin_error *e)
{
	const struct thin_registry_params *p = &reg->params;
	struct thin_table before = {0};
	int r;

	r = check_state(reg, e);
	if (r)
		return r;
	r = copy_table(reg, &before);
	if (!r)
		r = thin_table_copy(&before, &reg->next);
	if (!r)
		r = thin_changes_make(changes, nr, &reg->next, e);
	if (!r)
		r = thin_intent_make(&before, &reg->next, p->device_exists, p->ctx,
				     &reg->intent);
	thin_table_fini(&before);
	if (!r)
		return 0;
	drop_change(reg);
	return thin_error_default(e, r, "the registry: %s", thin_strerror(r));
}

/* Room for the change in the journal; the files of those before it go first. */
static int make_room(struct thin_registry *reg, struct thin_error *e)
{
	bool room;
	int r = thin_journal_has_room(&reg->journal, &reg->intent, &room);

	return r || room || is_settled(reg) ? r : settle(reg, e);
}

static int write_change(struct thin_registry *reg, bool *ret_unsure, struct thin_error *e)
{
	struct thin_files *f = reg->params.files;
	int r;

	r = make_room(reg, e);
	if (!r)
		r = thin_place_prepare(f, &reg->intent, e);
	if (r)
		return r;
	r = thin_journal_append(&reg->journal, &reg->intent, ret_unsure, e);
	if (r)
		thin_place_drop(f, &reg->intent);
	return r;
}

static int announce(struct thin_registry *reg, struct thin_error *e)
{
	bool unsure = false;
	int r = 0;

	if (!thin_intent_empty(&reg->intent))
		r = write_change(reg, &unsure, e);
	if (!r) {
		reg->state = PENDING;
		return 0;
	}
	if (unsure)
		reg->state = BROKEN;
	drop_change(reg);
	return thin_error_default(e, r, "the registry: %s", thin_strerror(r));
}

int thin_registry_begin(struct thin_registry *reg, const struct thin_change *changes,
			size_t nr, struct thin_error *e)
{
	int r;

	r = prepare(reg, changes, nr, e);
	return r ? r : announce(reg, e);
}

static void switch_tables(struct thin_registry *reg)
{
	struct thin_table old;

	thin_mutex_lock(&reg->lock);
	old = reg->table;
	reg->table = reg->next;
	thin_mutex_unlock(&reg->lock);
	reg->next = (struct thin_table){0};
	thin_table_fini(&old);
}

/*
 * Without memory to remember what is to be settled nothing more is changed:
 * the journal has it.
 */
static int remember(struct thin_registry *reg, struct thin_error *e)
{
	int r = thin_intent_merge(&reg->todo, &reg->intent);

	if (r)
		reg->state = BROKEN;
	return thin_error_default(e, r, "the registry: %s", thin_strerror(r));
}

void thin_registry_finish(struct thin_registry *reg)
{
	struct thin_error e = {""};
	int r;

	assert(reg->state == PENDING);
	switch_tables(reg);
	reg->state = IDLE;
	r = remember(reg, &e);
	if (!r) {
		r = thin_place_move(reg->params.files, &reg->intent, &e);
		reg->misplaced = r;
	}
	drop_change(reg);
	if (r)
		report(reg, &e);
	if (reg->params.finished)
		reg->params.finished(reg->params.ctx);
}

void thin_registry_cancel(struct thin_registry *reg)
{
	struct thin_error e = {""};
	int r = 0;

	assert(reg->state == PENDING);
	if (!thin_intent_empty(&reg->intent)) {
		thin_place_drop(reg->params.files, &reg->intent);
		r = thin_journal_withdraw(&reg->journal, &e);
	}
	reg->state = r ? BROKEN : IDLE;
	if (r)
		report(reg, &e);
	drop_change(reg);
}

void thin_registry_abandon(struct thin_registry *reg)
{
	assert(reg->state == PENDING);
	reg->state = BROKEN;
	drop_change(reg);
}

int thin_registry_change(struct thin_registry *reg, const struct thin_change *changes,
			 size_t nr, struct thin_error *e)
{
	int r;

	r = prepare(reg, changes, nr, e);
	if (r)
		return r;
	assert(!thin_intent_wants_commit(&reg->intent));
	r = announce(reg, e);
	if (!r)
		thin_registry_finish(reg);
	return r;
}
