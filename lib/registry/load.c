/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a folder of files to a table.
 *
 * The folder is listed first and read then.  Of the volumes that the journal
 * speaks of it has the records, and their files, which may be old or new or
 * both, are not looked at.
 */
#include "registry/load.h"

#include "registry/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct names {
	char **at;
	size_t nr;
};

static void names_fini(struct names *n)
{
	for (size_t i = 0; i < n->nr; i++)
		free(n->at[i]);
	free(n->at);
}

static int names_add(struct names *n, const char *name)
{
	/* Doubling: whenever the number is a power of two, it is full. */
	bool full = !(n->nr & (n->nr - 1));
	void *at = full ? reallocarray(n->at, n->nr * 2 + 1, sizeof(*n->at)) : n->at;
	char *copy;

	if (!at)
		return -ENOMEM;
	n->at = at;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	n->at[n->nr++] = copy;
	return 0;
}

__attribute__((format(printf, 2, 3))) static void report(const struct thin_load *l,
							 const char *fmt, ...)
{
	struct thin_error detail, line;
	va_list ap;

	if (!l->params->report)
		return;
	va_start(ap, fmt);
	vsnprintf(detail.text, sizeof(detail.text), fmt, ap);
	va_end(ap);
	/* Whose control characters are replaced. */
	thin_error_set(&line, 0, "%s", detail.text);
	l->params->report(l->params->ctx, line.text);
}

/* ---- the folder ---- */

struct listing {
	struct thin_load *load;
	struct names volumes; /* their names */
	struct names leftovers;
};

static int sort_file(void *ctx, const char *file)
{
	struct listing *list = ctx;
	char name[THIN_NAME_MAX + 1];

	if (!strcmp(file, THIN_JOURNAL_FILE))
		return 0;
	if (!strncmp(file, THIN_FILES_TMP, strlen(THIN_FILES_TMP)))
		return names_add(&list->leftovers, file);
	if (thin_volume_of_file(file, name))
		return names_add(&list->volumes, name);
	report(list->load, "%s/%s: is no volume's file (NAME.conf); it is ignored",
	       list->load->params->files->where, file);
	return 0;
}

static int list_folder(struct listing *list, struct thin_error *e)
{
	struct thin_files *f = list->load->params->files;
	int r = f->ops->list(f, sort_file, list);

	return r ? thin_files_error(f, "", "list", r, e) : 0;
}

/* ---- the journal ---- */

/* Nothing says whether the last change happened but the metadata. */
static int decide(struct thin_load *l, struct thin_journal_entry *last,
		  struct thin_error *e)
{
	const struct thin_registry_params *p = l->params;
	bool happened;
	int r;

	r = thin_intent_decide(&last->intent, p->device_exists, p->ctx, &happened, e);
	if (r)
		return thin_error_default(e, r, "%s/" THIN_JOURNAL_FILE ": %s",
					  p->files->where, thin_strerror(r));
	last->dropped = !happened;
	report(l, "%s: %s", p->files->where,
	       happened ? "was not closed; the last changes are put in place"
			: "a change was interrupted; it is dropped");
	return 0;
}

static int put_together(const struct thin_journal_entries *entries,
			struct thin_intent *ret)
{
	struct thin_intent in = {0};
	int r = 0;

	for (size_t i = 0; i < entries->nr && !r; i++)
		if (!entries->at[i].dropped)
			r = thin_intent_merge(&in, &entries->at[i].intent);
	if (r)
		thin_intent_fini(&in);
	else
		*ret = in;
	return r;
}

static int load_journal(struct thin_load *l, struct thin_intent *ret,
			struct thin_error *e)
{
	struct thin_journal_entries entries;
	int r;

	r = thin_journal_load(l->params->files, &entries, e);
	if (r)
		return r == -ENOENT ? 0 : r;
	l->journal = true;
	if (entries.nr)
		r = decide(l, &entries.at[entries.nr - 1], e);
	if (!r)
		r = put_together(&entries, ret);
	thin_journal_entries_fini(&entries);
	return r;
}

/* ---- the volumes ---- */

struct records {
	struct thin_volume_conf **at;
	size_t nr;
};

static void records_fini(struct records *rec)
{
	for (size_t i = 0; i < rec->nr; i++)
		thin_volume_conf_put(rec->at[i]);
	free(rec->at);
}

/* The record of one file; an error (save for -ENOMEM) is its problem alone. */
static int load_volume(struct thin_load *l, const char *name,
		       struct thin_volume_conf **ret)
{
	struct thin_files *f = l->params->files;
	_cleanup_free char *text = NULL, *where = NULL;
	char file[THIN_VOLUME_FILE_MAX];
	struct thin_error e = {""};
	size_t len;
	int r;

	if (asprintf(&where, "%s/%s", f->where, thin_volume_file(name, file)) < 0) {
		where = NULL;
		return -ENOMEM;
	}
	r = thin_files_read(f, file, THIN_VOLUME_FILE_BYTES, &text, &len, &e);
	if (!r)
		r = thin_volume_conf_parse(name, where, text, len, ret, &e);
	if (!r || r == -ENOMEM)
		return r;
	report(l, "%s", e.text);
	r = thin_volume_conf_new(name, ret);
	if (r)
		return r;
	r = thin_string_set(&(*ret)->problem, e.text);
	if (r)
		thin_volume_conf_put(*ret);
	return r;
}

static int load_volumes(struct thin_load *l, const struct names *names,
			const struct thin_intent *todo, struct records *ret)
{
	ret->at = calloc(names->nr + todo->nr_put + 1, sizeof(*ret->at));
	if (!ret->at)
		return -ENOMEM;
	/* Copies: records may yet change here, what is written must not. */
	for (size_t i = 0; i < todo->nr_put; i++) {
		int r = thin_volume_conf_copy(todo->put[i], &ret->at[ret->nr]);

		if (r)
			return r;
		ret->nr++;
	}
	for (size_t i = 0; i < names->nr; i++) {
		int r;

		if (thin_intent_touches(todo, names->at[i]))
			continue;
		r = load_volume(l, names->at[i], &ret->at[ret->nr]);
		if (r)
			return r;
		ret->nr++;
	}
	return 0;
}

static int by_device(const void *a, const void *b)
{
	const struct thin_volume_conf *const *va = a, *const *vb = b;

	return ((*va)->device > (*vb)->device) - ((*va)->device < (*vb)->device);
}

/* Two volumes on one device would write over each other: neither is used. */
static int refuse_shared(struct thin_load *l, struct thin_volume_conf **at, size_t nr)
{
	struct thin_error e;

	thin_error_set(&e, 0,
		       "%s: %s and %s are both device %" PRIu32
		       ": one of the files is a copy",
		       l->params->files->where, at[0]->name, at[1]->name, at[0]->device);
	report(l, "%s", e.text);
	for (size_t i = 0; i < nr; i++) {
		int r = thin_string_set(&at[i]->problem, e.text);

		if (r)
			return r;
		at[i]->device = THIN_NO_DEVICE;
	}
	return 0;
}

static int find_shared(struct thin_load *l, struct records *rec)
{
	qsort(rec->at, rec->nr, sizeof(*rec->at), by_device);
	for (size_t i = 0, end; i < rec->nr; i = end) {
		uint32_t device = rec->at[i]->device;
		int r = 0;

		for (end = i + 1; end < rec->nr && rec->at[end]->device == device; end++)
			;
		if (end - i > 1 && device != THIN_NO_DEVICE)
			r = refuse_shared(l, rec->at + i, end - i);
		if (r)
			return r;
	}
	return 0;
}

static int lose_parent(void *ctx, struct thin_volume_conf *v)
{
	report(ctx,
	       "%s: its parent %s is not there, or its own descendant; it has none now",
	       v->name, v->parent);
	return thin_string_set(&v->parent, NULL);
}

static int fill_table(struct thin_load *l, struct records *rec, struct thin_table *t)
{
	int r;

	r = find_shared(l, rec);
	for (size_t i = 0; !r && i < rec->nr; i++)
		r = thin_table_insert(t, rec->at[i], NULL);
	return r ? r : thin_table_lost_parents(t, lose_parent, l);
}

int thin_load(struct thin_load *l, struct thin_table *ret_table,
	      struct thin_intent *ret_todo, struct thin_error *e)
{
	struct listing list = {.load = l};
	struct thin_intent todo = {0};
	struct thin_table table = {0};
	struct records rec = {0};
	int r;

	r = list_folder(&list, e);
	if (!r)
		r = load_journal(l, &todo, e);
	if (!r)
		r = load_volumes(l, &list.volumes, &todo, &rec);
	if (!r)
		r = fill_table(l, &rec, &table);
	records_fini(&rec);
	names_fini(&list.volumes);
	if (r) {
		names_fini(&list.leftovers);
		thin_table_fini(&table);
		thin_intent_fini(&todo);
		return thin_error_default(e, r, "%s: %s", l->params->files->where,
					  thin_strerror(r));
	}
	l->leftovers = list.leftovers.at;
	l->nr_leftovers = list.leftovers.nr;
	*ret_table = table;
	*ret_todo = todo;
	return 0;
}

void thin_load_clean(struct thin_load *l)
{
	struct thin_files *f = l->params->files;

	for (size_t i = 0; i < l->nr_leftovers; i++) {
		struct thin_error e;
		int r = f->ops->unlink(f, l->leftovers[i]);

		/* Settling has moved some of them to their places. */
		if (r && r != -ENOENT) {
			thin_files_error(f, l->leftovers[i], "remove", r, &e);
			report(l, "%s", e.text);
		}
	}
}

void thin_load_fini(struct thin_load *l)
{
	struct names n = {l->leftovers, l->nr_leftovers};

	names_fini(&n);
	l->leftovers = NULL;
	l->nr_leftovers = 0;
}
