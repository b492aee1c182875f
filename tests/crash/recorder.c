/* SPDX-License-Identifier: BSD-3-Clause */
#include "recorder.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * An entry is made when it is submitted and waits in a list of what is under
 * way; when it completes it moves to the log.  A transfer of several
 * segments is as many entries, since nothing orders them.
 */

struct lent {
	struct thin_storage base;
	struct recorder *rec;
	struct thin_storage *under;
	enum rec_file file;
};

/* A growing array of pointers. */
struct entries {
	struct rec_entry **e;
	size_t nr, room;
};

struct recorder {
	struct thin_mutex lock;
	unsigned flags;
	bool stopped;
	bool killed;
	uint64_t kill_in; /* changes and flushes until then; 0: never */
	uint64_t clock;
	struct entries log, pending;
	struct rec_listener *listeners;
	struct lent lent[REC_FILES];
	struct thin_storage *below[REC_FILES];
};

static _Thread_local struct rec_owner current_owner;

/* --- memory ------------------------------------------------------------- */

_Thread_local volatile unsigned must_alloc_depth;

void *must_alloc(size_t nr, size_t size)
{
	void *p;

	must_alloc_depth++;
	p = calloc(nr ? nr : 1, size);
	must_alloc_depth--;
	if (!p)
		abort();
	return p;
}

void *must_grow(void *p, size_t nr, size_t size)
{
	must_alloc_depth++;
	p = reallocarray(p, nr, size);
	must_alloc_depth--;
	if (!p)
		abort();
	return p;
}

static void add(struct entries *list, struct rec_entry *e)
{
	if (list->nr == list->room) {
		list->room = list->room ? 2 * list->room : 64;
		list->e = must_grow(list->e, list->room, sizeof(*list->e));
	}
	list->e[list->nr++] = e;
}

static void take_out(struct entries *list, struct rec_entry *e)
{
	for (size_t i = 0; i < list->nr; i++) {
		if (list->e[i] == e) {
			memmove(&list->e[i], &list->e[i + 1],
				(list->nr - i - 1) * sizeof(*list->e));
			list->nr--;
			return;
		}
	}
	abort();
}

static void free_entry(struct rec_entry *e)
{
	free(e->name);
	free(e->other);
	free(e->text);
	free(e->sectors);
	free(e->actual);
	free(e);
}

static void clear(struct entries *list)
{
	for (size_t i = 0; i < list->nr; i++)
		free_entry(list->e[i]);
	list->nr = 0;
}

/* --- entries --------------------------------------------------------------- */

/* The whole sectors that a write, or for NULL zeroing, leaves behind. */
static uint8_t *sectors_after(struct recorder *rec, const struct rec_entry *e,
			      const void *buf)
{
	uint64_t begin = rec_first_sector(e) * THIN_SECTOR;
	uint64_t end = rec_end_sector(e) * THIN_SECTOR;
	uint8_t *sectors = must_alloc(1, end - begin);
	uint64_t size;

	if ((e->offset != begin || e->offset + e->len != end) &&
	    !thin_storage_size(rec_under(rec, e->file), &size)) {
		/* What is past the end of the file reads as zeros. */
		if (thin_storage_read_at(rec_under(rec, e->file), begin, sectors,
					 thin_min(end, size) - begin))
			abort();
	}
	if (buf)
		memcpy(sectors + (e->offset - begin), buf, e->len);
	else
		memset(sectors + (e->offset - begin), 0, e->len);
	return sectors;
}

static struct rec_entry *submit_locked(struct recorder *rec, struct rec_entry entry,
				       const void *buf) THIN_REQUIRES(rec->lock)
{
	struct rec_entry *e = must_alloc(1, sizeof(*e));

	*e = entry;
	e->owner = current_owner;
	e->submit = ++rec->clock;
	if ((e->op == REC_WRITE || e->op == REC_ZERO) && rec->flags & REC_KEEP)
		e->sectors = sectors_after(rec, e, buf);
	e->buf = buf;
	add(&rec->pending, e);
	for (struct rec_listener *l = rec->listeners; l; l = l->next)
		l->submitted(l, e);
	e->buf = NULL;
	return e;
}

static void note_actual(struct recorder *rec, struct rec_entry *e)
{
	uint64_t begin = rec_first_sector(e) * THIN_SECTOR;
	uint64_t len = rec_end_sector(e) * THIN_SECTOR - begin, size;

	e->actual = must_alloc(1, len);
	if (thin_storage_size(rec_under(rec, e->file), &size) ||
	    thin_storage_read_at(rec_under(rec, e->file), begin, e->actual,
				 thin_min(len, size - begin)))
		abort();
}

static void complete_locked(struct recorder *rec, struct rec_entry *e, int result)
	THIN_REQUIRES(rec->lock)
{
	e->complete = ++rec->clock;
	e->result = result;
	if (result && e->sectors)
		note_actual(rec, e);
	take_out(&rec->pending, e);
	for (struct rec_listener *l = rec->listeners; l; l = l->next)
		l->completed(l, e);
	if (rec->flags & REC_KEEP)
		add(&rec->log, e);
	else
		free_entry(e);
}

/* Has the process come to its end before this? */
static bool dies(struct recorder *rec) THIN_REQUIRES(rec->lock)
{
	if (rec->kill_in && !--rec->kill_in)
		rec->killed = true;
	return rec->killed;
}

/*
 * @ret: NULL where nothing is recorded any more.
 * False: the process is no more, nothing is to be done.
 */
static bool submit(struct lent *lent, enum rec_op op, uint64_t offset, uint64_t len,
		   struct rec_entry **ret)
{
	struct recorder *rec = lent->rec;
	struct rec_entry entry = {
		.op = op, .file = lent->file, .offset = offset, .len = len};
	bool alive;

	*ret = NULL;
	thin_mutex_lock(&rec->lock);
	alive = !dies(rec);
	if (alive && !rec->stopped)
		*ret = submit_locked(rec, entry, NULL);
	thin_mutex_unlock(&rec->lock);
	return alive;
}

static int complete(struct lent *lent, struct rec_entry *e, int result)
{
	struct recorder *rec = lent->rec;

	if (!e)
		return result;
	thin_mutex_lock(&rec->lock);
	complete_locked(rec, e, result);
	thin_mutex_unlock(&rec->lock);
	return result;
}

/* --- the storage -------------------------------------------------------------- */

static struct lent *to_lent(struct thin_storage *s)
{
	return (struct lent *)s;
}

static int lent_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	return thin_storage_read(to_lent(s)->under, seg, nr);
}

/* How many of the segments are still written. */
static size_t submit_segments(struct lent *lent, const struct thin_segment *seg,
			      size_t nr, struct rec_entry **e)
{
	struct recorder *rec = lent->rec;
	size_t i;

	thin_mutex_lock(&rec->lock);
	for (i = 0; i < nr && !dies(rec); i++) {
		struct rec_entry entry = {.op = REC_WRITE,
					  .file = lent->file,
					  .offset = seg[i].offset,
					  .len = seg[i].len};
		if (!rec->stopped)
			e[i] = submit_locked(rec, entry, seg[i].buf);
	}
	thin_mutex_unlock(&rec->lock);
	return i;
}

static int lent_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct lent *lent = to_lent(s);
	struct rec_entry **e = must_alloc(nr, sizeof(struct rec_entry *));
	int r;

	nr = submit_segments(lent, seg, nr, e);
	r = thin_storage_write(lent->under, seg, nr);
	for (size_t i = 0; i < nr; i++)
		(void)complete(lent, e[i], r);
	free(e);
	return r;
}

static int lent_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct lent *lent = to_lent(s);
	struct rec_entry *e;

	if (!submit(lent, REC_ZERO, offset, len, &e))
		return 0;
	return complete(lent, e, thin_storage_zero(lent->under, offset, len));
}

static int lent_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct lent *lent = to_lent(s);
	struct rec_entry *e;

	if (!submit(lent, REC_PUNCH, offset, len, &e))
		return 0;
	return complete(lent, e, thin_storage_punch(lent->under, offset, len));
}

static int lent_flush(struct thin_storage *s)
{
	struct lent *lent = to_lent(s);
	struct rec_entry *e;

	if (!submit(lent, REC_FLUSH, 0, 0, &e))
		return 0;
	return complete(lent, e, thin_storage_flush(lent->under));
}

static int lent_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	return thin_storage_size(to_lent(s)->under, ret_bytes);
}

static int lent_resize(struct thin_storage *s, uint64_t bytes)
{
	struct lent *lent = to_lent(s);
	struct rec_entry *e;

	if (!submit(lent, REC_RESIZE, 0, bytes, &e))
		return 0;
	return complete(lent, e, thin_storage_resize(lent->under, bytes));
}

static int lent_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
			thin_extent_fn *fn, void *ctx)
{
	return thin_storage_extents(to_lent(s)->under, offset, len, fn, ctx);
}

static int lent_identity(struct thin_storage *s, struct thin_identity *ret)
{
	return thin_storage_identity(to_lent(s)->under, ret);
}

static void lent_close(struct thin_storage *s)
{
	(void)s;
}

static const struct thin_storage_ops lent_ops = {
	.name = "recorder",
	.read = lent_read,
	.write = lent_write,
	.zero = lent_zero,
	.punch = lent_punch,
	.flush = lent_flush,
	.size = lent_size,
	.resize = lent_resize,
	.extents = lent_extents,
	.identity = lent_identity,
	.close = lent_close,
};

struct thin_storage *rec_lend(struct recorder *rec, enum rec_file file,
			      struct thin_storage *under)
{
	rec->lent[file] = (struct lent){
		.base = {.ops = &lent_ops, .readonly = under->readonly},
		.rec = rec,
		.under = under,
		.file = file,
	};
	return &rec->lent[file].base;
}

struct thin_storage *rec_under(struct recorder *rec, enum rec_file file)
{
	return rec->below[file] ? rec->below[file] : rec->lent[file].under;
}

void rec_look_below(struct recorder *rec, enum rec_file file, struct thin_storage *below)
{
	rec->below[file] = below;
}

/* --- folders ----------------------------------------------------------------------- */

static char *copy_text(const char *text)
{
	char *copy = text ? must_alloc(strlen(text) + 1, 1) : NULL;

	return text ? strcpy(copy, text) : NULL;
}

bool rec_folder(struct recorder *rec, enum rec_op op, const char *name, const char *other,
		const char *text, struct rec_entry **ret)
{
	struct rec_entry entry = {.op = op,
				  .file = REC_FOLDER,
				  .name = copy_text(name),
				  .other = copy_text(other),
				  .text = copy_text(text)};
	bool alive;

	*ret = NULL;
	thin_mutex_lock(&rec->lock);
	alive = !dies(rec);
	if (alive && !rec->stopped)
		*ret = submit_locked(rec, entry, NULL);
	thin_mutex_unlock(&rec->lock);
	if (*ret)
		return alive;
	free(entry.name);
	free(entry.other);
	free(entry.text);
	return alive;
}

void rec_folder_done(struct recorder *rec, struct rec_entry *e, int result)
{
	if (!e)
		return;
	thin_mutex_lock(&rec->lock);
	complete_locked(rec, e, result);
	thin_mutex_unlock(&rec->lock);
}

/* --- the recorder ------------------------------------------------------------------ */

struct recorder *rec_new(unsigned flags)
{
	struct recorder *rec = must_alloc(1, sizeof(*rec));

	thin_mutex_init(&rec->lock);
	rec->flags = flags;
	rec->clock = 16; /* what was before the test has smaller stamps */
	return rec;
}

void rec_free(struct recorder *rec)
{
	if (!rec)
		return;
	clear(&rec->log);
	clear(&rec->pending);
	free(rec->log.e);
	free(rec->pending.e);
	thin_mutex_fini(&rec->lock);
	free(rec);
}

void rec_listen(struct recorder *rec, struct rec_listener *l)
{
	l->next = rec->listeners;
	rec->listeners = l;
}

void rec_restart(struct recorder *rec)
{
	thin_mutex_lock(&rec->lock);
	assert(!rec->pending.nr);
	clear(&rec->log);
	rec->stopped = false;
	thin_mutex_unlock(&rec->lock);
}

void rec_stop(struct recorder *rec)
{
	thin_mutex_lock(&rec->lock);
	rec->stopped = true;
	thin_mutex_unlock(&rec->lock);
}

void rec_kill(struct recorder *rec, uint64_t nr)
{
	thin_mutex_lock(&rec->lock);
	rec->kill_in = nr + 1;
	thin_mutex_unlock(&rec->lock);
}

bool rec_killed(struct recorder *rec)
{
	bool killed;

	thin_mutex_lock(&rec->lock);
	killed = rec->killed;
	thin_mutex_unlock(&rec->lock);
	return killed;
}

void rec_revive(struct recorder *rec)
{
	thin_mutex_lock(&rec->lock);
	rec->killed = false;
	rec->kill_in = 0;
	thin_mutex_unlock(&rec->lock);
}

uint64_t rec_mark(struct recorder *rec, const struct rec_mark *mark)
{
	struct rec_entry *e;
	uint64_t stamp = 0;

	thin_mutex_lock(&rec->lock);
	if (!rec->killed) {
		e = submit_locked(rec, (struct rec_entry){.op = REC_MARK, .mark = *mark},
				  NULL);
		stamp = e->submit;
		complete_locked(rec, e, 0);
	}
	thin_mutex_unlock(&rec->lock);
	return stamp;
}

void rec_own(const struct rec_owner *owner)
{
	current_owner = owner ? *owner : (struct rec_owner){0};
	current_owner.known = owner;
}

size_t rec_length(struct recorder *rec)
{
	return rec->log.nr + rec->pending.nr;
}

const struct rec_entry *rec_at(struct recorder *rec, size_t i)
{
	return i < rec->log.nr ? rec->log.e[i] : rec->pending.e[i - rec->log.nr];
}

uint64_t rec_now(struct recorder *rec)
{
	return rec->clock;
}

const char *rec_describe(const struct rec_entry *e)
{
	static const char *const ops[] = {
		[REC_WRITE] = "write",	 [REC_ZERO] = "zero",
		[REC_PUNCH] = "punch",	 [REC_RESIZE] = "resize",
		[REC_FLUSH] = "flush",	 [REC_MARK] = "mark",
		[REC_MAKE] = "make",	 [REC_OVERWRITE] = "overwrite",
		[REC_RENAME] = "rename", [REC_UNLINK] = "unlink",
		[REC_SYNC] = "sync",	 [REC_SYNC_FOLDER] = "sync folder",
	};
	static _Thread_local char text[160];

	if (e->file == REC_FOLDER)
		snprintf(text, sizeof(text), "folder: %s %.60s %.60s (at %" PRIu64 ")",
			 ops[e->op], e->name ? e->name : "", e->other ? e->other : "",
			 e->submit);
	else
		snprintf(text, sizeof(text),
			 "%s %s %" PRIu64 "+%" PRIu64 " (at %" PRIu64 ")",
			 e->file == REC_METADATA ? "metadata" : "data", ops[e->op],
			 e->offset, e->len, e->submit);
	return text;
}
