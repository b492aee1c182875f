/* SPDX-License-Identifier: BSD-3-Clause */
#include "folder.h"

#include "registry/journal.h"
#include "util/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- files ---------------------------------------------------------------------- */

static struct folder *to_folder(struct thin_files *f)
{
	return (struct folder *)f;
}

static struct folder_file *find(const struct folder *f, const char *name)
{
	for (size_t i = 0; i < f->nr; i++)
		if (!strcmp(f->file[i].name, name))
			return &f->file[i];
	return NULL;
}

static void set_name(char *to, const char *name)
{
	size_t len = strlen(name);

	if (len >= FOLDER_NAME)
		abort();
	memcpy(to, name, len + 1);
}

static char *copy_text(const char *text)
{
	return strcpy(must_alloc(strlen(text) + 1, 1), text);
}

static void drop(struct folder *f, const char *name)
{
	struct folder_file *file = find(f, name);

	if (!file)
		return;
	free(file->text);
	*file = f->file[--f->nr];
}

/* Takes @text. */
static void put(struct folder *f, const char *name, char *text)
{
	drop(f, name);
	f->file = must_grow(f->file, f->nr + 1, sizeof(*f->file));
	set_name(f->file[f->nr].name, name);
	f->file[f->nr++].text = text;
}

static bool record(struct folder *f, enum rec_op op, const char *name, const char *other,
		   const char *text, struct rec_entry **ret)
{
	*ret = NULL;
	return !f->rec || rec_folder(f->rec, op, name, other, text, ret);
}

static int done(struct folder *f, struct rec_entry *e, int r)
{
	if (f->rec)
		rec_folder_done(f->rec, e, r);
	return r;
}

static int files_write(struct thin_files *files, const char *name, const char *text,
		       size_t len)
{
	struct folder *f = to_folder(files);
	char *copy = must_alloc(len + 1, 1);
	struct rec_entry *e;

	memcpy(copy, text, len);
	if (!record(f, REC_MAKE, name, NULL, copy, &e)) {
		free(copy);
		return 0;
	}
	put(f, name, copy);
	f->changes++;
	return done(f, e, 0);
}

static int files_overwrite(struct thin_files *files, const char *name, size_t offset,
			   const char *text, size_t len)
{
	struct folder *f = to_folder(files);
	struct folder_file *file = find(f, name);
	struct rec_entry *e;
	char *new;

	if (!file || offset + len > strlen(file->text))
		return -ENOENT;
	new = copy_text(file->text);
	memcpy(new + offset, text, len);
	if (!record(f, REC_OVERWRITE, name, NULL, new, &e)) {
		free(new);
		return 0;
	}
	free(file->text);
	file->text = new;
	f->changes++;
	return done(f, e, 0);
}

static int files_sync(struct thin_files *files, const char *name)
{
	struct rec_entry *e;

	if (!record(to_folder(files), REC_SYNC, name, NULL, NULL, &e))
		return 0;
	return done(to_folder(files), e, find(to_folder(files), name) ? 0 : -ENOENT);
}

static int files_rename(struct thin_files *files, const char *from, const char *to)
{
	struct folder *f = to_folder(files);
	struct folder_file *file = find(f, from);
	struct rec_entry *e;

	if (!file)
		return -ENOENT;
	if (!record(f, REC_RENAME, from, to, NULL, &e))
		return 0;
	put(f, to, copy_text(file->text));
	drop(f, from);
	f->changes++;
	return done(f, e, 0);
}

static int files_unlink(struct thin_files *files, const char *name)
{
	struct folder *f = to_folder(files);
	struct rec_entry *e;

	if (!find(f, name))
		return -ENOENT;
	if (!record(f, REC_UNLINK, name, NULL, NULL, &e))
		return 0;
	drop(f, name);
	f->changes++;
	return done(f, e, 0);
}

static int files_sync_folder(struct thin_files *files)
{
	struct rec_entry *e;

	if (!record(to_folder(files), REC_SYNC_FOLDER, NULL, NULL, NULL, &e))
		return 0;
	return done(to_folder(files), e, 0);
}

static int files_list(struct thin_files *files, thin_files_fn *fn, void *ctx)
{
	int r = 0;

	for (size_t i = 0; i < to_folder(files)->nr && !r; i++)
		r = fn(ctx, to_folder(files)->file[i].name);
	return r;
}

static int files_read(struct thin_files *files, const char *name, size_t max,
		      char **ret_text, size_t *ret_len)
{
	const struct folder_file *file = find(to_folder(files), name);

	if (!file)
		return -ENOENT;
	if (strlen(file->text) > max)
		return -EFBIG;
	*ret_text = copy_text(file->text);
	*ret_len = strlen(file->text);
	return 0;
}

static void files_close(struct thin_files *files)
{
	(void)files;
}

static const struct thin_files_ops files_ops = {
	.write = files_write,
	.overwrite = files_overwrite,
	.sync = files_sync,
	.rename = files_rename,
	.unlink = files_unlink,
	.sync_folder = files_sync_folder,
	.list = files_list,
	.read = files_read,
	.close = files_close,
};

void folder_init(struct folder *f, struct recorder *rec)
{
	*f = (struct folder){.files = {.ops = &files_ops, .where = "volumes"},
			     .rec = rec};
}

void folder_fini(struct folder *f)
{
	while (f->nr)
		drop(f, f->file[0].name);
	free(f->file);
	f->file = NULL;
}

void folder_copy(struct folder *to, const struct folder *from)
{
	folder_init(to, NULL);
	for (size_t i = 0; i < from->nr; i++)
		put(to, from->file[i].name, copy_text(from->file[i].text));
}

uint64_t folder_hash(const struct folder *f)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < f->nr; i++) {
		uint64_t h = 1;
		size_t len;

		for (const char *p = f->file[i].name; *p; p++)
			h = stamp_mix(h * 31 + (unsigned char)*p);
		/* A journal is newlines, mostly. */
		len = strlen(f->file[i].text);
		while (len && f->file[i].text[len - 1] == '\n')
			len--;
		for (size_t c = 0; c < len; c++)
			h = stamp_mix(h * 37 + (unsigned char)f->file[i].text[c]);
		sum += h;
	}
	return stamp_mix(sum);
}

/* --- what is durable ------------------------------------------------------------------
 */

static unsigned new_inode(struct track *t, const char *text, bool synced)
{
	if (t->nr_inodes == 4 * TRACK_MAX)
		abort();
	t->inode[t->nr_inodes] =
		(struct track_inode){.text = copy_text(text), .synced = synced};
	return t->nr_inodes++;
}

static struct track_entry *find_entry(struct track_entry *entry, unsigned nr,
				      const char *name)
{
	for (unsigned i = 0; i < nr; i++)
		if (!strcmp(entry[i].name, name))
			return &entry[i];
	return NULL;
}

static void remove_entry(struct track_entry *entry, unsigned *nr, const char *name)
{
	struct track_entry *e = find_entry(entry, *nr, name);

	if (e)
		*e = entry[--*nr];
}

static void do_op(struct track_entry *entry, unsigned *nr, const struct track_op *op)
{
	if (op->from[0])
		remove_entry(entry, nr, op->from);
	if (!op->to[0])
		return;
	remove_entry(entry, nr, op->to);
	if (*nr == TRACK_MAX)
		abort();
	set_name(entry[*nr].name, op->to);
	entry[(*nr)++].inode = op->inode;
}

/* What a name is now, all that was done being done. */
static bool lookup(const struct track *t, const char *name, unsigned *ret)
{
	const struct track_entry *e = find_entry(
		(struct track_entry *)(uintptr_t)t->entry, t->nr_entries, name);
	bool there = e;

	if (e)
		*ret = e->inode;
	for (unsigned i = 0; i < t->nr_pending; i++) {
		const struct track_op *op = &t->pending[i];

		if (!strcmp(op->from, name))
			there = false;
		if (!strcmp(op->to, name)) {
			there = true;
			*ret = op->inode;
		}
	}
	return there;
}

static void begin_op(struct track *t, const struct rec_entry *e)
{
	struct track_op *op = &t->pending[t->nr_pending];

	if (t->nr_pending == TRACK_MAX)
		abort();
	*op = (struct track_op){.submit = e->submit};
	if (e->op == REC_MAKE) {
		op->inode = new_inode(t, e->text, false);
		set_name(op->to, e->name);
	} else {
		(void)lookup(t, e->name, &op->inode); /* it is there: it was done */
		set_name(op->from, e->name);
		if (e->op == REC_RENAME)
			set_name(op->to, e->other);
	}
	t->nr_pending++;
}

static void overwritten(struct track *t, const struct rec_entry *e)
{
	struct track_inode *inode;
	unsigned i = 0;

	if (!lookup(t, e->name, &i))
		return;
	inode = &t->inode[i];
	if (inode->synced || !inode->before) {
		free(inode->before);
		inode->before = inode->text;
	} else {
		free(inode->text);
	}
	inode->text = copy_text(e->text);
	inode->synced = false;
}

static void end_op(struct track *t, const struct rec_entry *e)
{
	for (unsigned i = 0; i < t->nr_pending; i++)
		if (t->pending[i].submit == e->submit)
			t->pending[i].completed = true;
}

/* F2. */
static void settle(struct track *t, const struct rec_entry *sync)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < t->nr_pending; i++) {
		if (t->pending[i].completed && t->pending[i].submit < sync->submit)
			do_op(t->entry, &t->nr_entries, &t->pending[i]);
		else
			t->pending[kept++] = t->pending[i];
	}
	t->nr_pending = kept;
}

static bool means_nothing(const char *name)
{
	return !name[0] || !strncmp(name, THIN_FILES_TMP, strlen(THIN_FILES_TMP));
}

static bool journal_is_durable(const struct track *t)
{
	const struct track_entry *e =
		find_entry((struct track_entry *)(uintptr_t)t->entry, t->nr_entries,
			   THIN_JOURNAL_FILE);
	unsigned now = 0;

	return e && t->inode[e->inode].synced && lookup(t, THIN_JOURNAL_FILE, &now) &&
	       now == e->inode;
}

/* O8. */
static void check_settled(struct track *t, const struct rec_mark *mark)
{
	static const uint32_t answers[] = {MARK_CREATED, MARK_SNAPPED, MARK_DELETED,
					   MARK_RENAMED, MARK_ROLLED,  MARK_SIZED};
	bool answer = false;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		answer |= mark->kind == answers[i] && !mark->result;
	answer &= !journal_is_durable(t);
	for (unsigned i = 0; i < t->nr_pending && answer; i++) {
		const struct track_op *op = &t->pending[i];
		const char *name = means_nothing(op->to) ? op->from : op->to;

		if (!means_nothing(name))
			set_name(t->unsettled, name);
	}
}

static bool changes_names(enum rec_op op)
{
	return op == REC_MAKE || op == REC_RENAME || op == REC_UNLINK;
}

void track_step(void *ctx, struct replay *rp, const struct rec_entry *e, bool completes)
{
	struct track *t = ctx;
	unsigned inode = 0;

	if (e->op == REC_MARK && !completes)
		check_settled(t, &e->mark);
	if (e->file != REC_FOLDER)
		return;
	rp->extra++;
	if (e->op == REC_SYNC && completes && !e->result && lookup(t, e->name, &inode))
		t->inode[inode].synced = true;
	else if (e->op == REC_SYNC_FOLDER && completes && !e->result)
		settle(t, e);
	else if (e->op == REC_OVERWRITE && !completes)
		overwritten(t, e);
	else if (changes_names(e->op) && completes)
		end_op(t, e);
	else if (changes_names(e->op))
		begin_op(t, e);
}

void track_init(struct track *t, const struct folder *before)
{
	*t = (struct track){0};
	for (size_t i = 0; i < before->nr; i++) {
		struct track_op op = {.inode = new_inode(t, before->file[i].text, true)};

		set_name(op.to, before->file[i].name);
		do_op(t->entry, &t->nr_entries, &op);
	}
}

void track_fini(struct track *t)
{
	for (unsigned i = 0; i < t->nr_inodes; i++) {
		free(t->inode[i].text);
		free(t->inode[i].before);
	}
	t->nr_inodes = 0;
}

/* --- variants
 * ---------------------------------------------------------------------------- */

static bool names_meet(const struct track_op *a, const struct track_op *b)
{
	return (a->from[0] && (!strcmp(a->from, b->from) || !strcmp(a->from, b->to))) ||
	       (a->to[0] && (!strcmp(a->to, b->from) || !strcmp(a->to, b->to)));
}

/* F3: what was done to one name is there in its order. */
static bool legal(const struct track *t, uint64_t set)
{
	for (unsigned j = 0; j < t->nr_pending; j++)
		for (unsigned i = 0; i < j && set >> j & 1; i++)
			if (!(set >> i & 1) && names_meet(&t->pending[i], &t->pending[j]))
				return false;
	return true;
}

/* Where there are many: all of the first so many of them, and none. */
#define ALL_SUBSETS 4

static bool choose_set(const struct track *t, unsigned i, uint64_t *ret)
{
	if (t->nr_pending <= ALL_SUBSETS) {
		*ret = i;
		return i < 1u << t->nr_pending;
	}
	*ret = (UINT64_C(1) << i) - 1;
	return i <= t->nr_pending;
}

/* As it was, with each second sector overwritten or without. */
static char *half_overwritten(const struct track_inode *inode, bool half)
{
	char *text = copy_text(inode->before);
	size_t len = strlen(text);

	for (size_t at = 0; half && at < len; at += 2 * THIN_JOURNAL_SECTOR)
		memcpy(text + at, inode->text + at,
		       thin_min(len - at, THIN_JOURNAL_SECTOR));
	return text;
}

/* What is not synced may be there as a whole, in part, or not at all. */
static void add_file(const struct track *t, const struct track_entry *e, unsigned content,
		     struct folder *ret)
{
	const struct track_inode *inode = &t->inode[e->inode];
	char *text;

	if (!inode->synced && content && inode->before) {
		put(ret, e->name, half_overwritten(inode, content == 2));
		return;
	}
	text = copy_text(inode->text);
	if (!inode->synced && content)
		text[content == 1 ? 0 : strlen(text) / 2] = 0;
	put(ret, e->name, text);
}

static bool any_unsynced(const struct track *t)
{
	for (unsigned i = 0; i < t->nr_inodes; i++)
		if (!t->inode[i].synced)
			return true;
	return false;
}

/* Sets that are not legal give the one with nothing in it once more. */
bool track_variant(const struct track *t, unsigned i, struct folder *ret)
{
	unsigned contents = any_unsynced(t) ? 3 : 1;
	struct track_entry entry[TRACK_MAX];
	unsigned nr = t->nr_entries;
	uint64_t set;

	if (!choose_set(t, i / contents, &set))
		return false;
	if (!legal(t, set))
		set = 0;
	memcpy(entry, t->entry, sizeof(entry));
	for (unsigned n = 0; n < t->nr_pending; n++)
		if (set >> n & 1)
			do_op(entry, &nr, &t->pending[n]);
	folder_init(ret, NULL);
	for (unsigned n = 0; n < nr; n++)
		add_file(t, &entry[n], i % contents, ret);
	return true;
}
