/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/journal.h"

#include "util/checked.h"
#include "util/crc32c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TMP_JOURNAL THIN_FILES_TMP THIN_JOURNAL_FILE

/* ---- a change as text ---- */

/*
 * The line that a change begins with.  The checksum is of what stands after
 * it, to the end of the change.
 */
struct head {
	uint32_t crc;
	uint64_t number;
	bool after_dropped;
	size_t bytes; /* that follow the line */
};

#define HEAD_BYTES 120 /* more than any line has */
#define CRC_END	   strlen("# crc32c 01234567")

static size_t print_head(const struct head *h, char line[static HEAD_BYTES])
{
	return (size_t)snprintf(
		line, HEAD_BYTES,
		"# crc32c %08" PRIx32 "; change %" PRIu64 " after a %s one; %zu bytes\n",
		h->crc, h->number, h->after_dropped ? "dropped" : "finished", h->bytes);
}

/* Only what print_head() would print.  Returns its length; 0 where it is none. */
static size_t parse_head(const char *text, size_t len, struct head *ret)
{
	char line[HEAD_BYTES], again[HEAD_BYTES], outcome[HEAD_BYTES];
	size_t n = thin_min(len, sizeof(line) - 1);

	memcpy(line, text, n);
	line[n] = '\0';
	if (sscanf(line, "# crc32c %" SCNx32 "; change %" SCNu64 " after a %s one; %zu",
		   &ret->crc, &ret->number, outcome, &ret->bytes) != 4)
		return 0;
	ret->after_dropped = !strcmp(outcome, "dropped");
	n = print_head(ret, again);
	return !strncmp(line, again, n) ? n : 0;
}

static size_t sectors(size_t bytes)
{
	return (bytes + THIN_JOURNAL_SECTOR - 1) / THIN_JOURNAL_SECTOR *
	       THIN_JOURNAL_SECTOR;
}

/*
 * The change @h with @text, @h->bytes long, in whole sectors, and newlines up
 * to @room bytes.  @ret: free() it.
 */
static int format_change(struct head *h, const char *text, size_t room, char **ret,
			 size_t *ret_len)
{
	char line[HEAD_BYTES], *change;
	size_t n;

	h->crc = 0;
	n = print_head(h, line);
	*ret_len = thin_max(room, sectors(n + h->bytes));
	change = malloc(*ret_len + 1);
	if (!change)
		return -ENOMEM;
	memset(change, '\n', *ret_len);
	change[*ret_len] = '\0';
	memcpy(change, line, n);
	memcpy(change + n, text, h->bytes);
	h->crc = thin_crc32c(change + CRC_END, n - CRC_END + h->bytes);
	(void)print_head(h, line);
	memcpy(change, line, n);
	*ret = change;
	return 0;
}

/* ---- writing ---- */

void thin_journal_init(struct thin_journal *j, struct thin_files *files, size_t room)
{
	*j = (struct thin_journal){.files = files, .room = room};
}

/* J5. */
static bool fits(const struct thin_journal *j, size_t bytes)
{
	return j->used + sectors(HEAD_BYTES + bytes) + THIN_JOURNAL_SECTOR <= j->bytes;
}

int thin_journal_has_room(const struct thin_journal *j, const struct thin_intent *in,
			  bool *ret)
{
	_cleanup_free char *text = NULL;
	size_t len;
	int r = thin_intent_print(in, &text, &len);

	if (!r)
		*ret = fits(j, len);
	return r;
}

/* J1.  @text is all of the file. */
static int make(struct thin_journal *j, const char *text, size_t len, bool *ret_unsure,
		struct thin_error *e)
{
	struct thin_files *f = j->files;
	int r;

	r = thin_files_write(f, TMP_JOURNAL, text, len, e);
	if (!r) {
		r = f->ops->rename(f, TMP_JOURNAL, THIN_JOURNAL_FILE);
		if (r)
			thin_files_error(f, THIN_JOURNAL_FILE, "make", r, e);
	}
	if (r) {
		(void)f->ops->unlink(f, TMP_JOURNAL);
		return r;
	}
	r = f->ops->sync_folder(f);
	if (!r)
		return 0;
	/* It stays unsure; but if nothing crashes, it is gone. */
	*ret_unsure = true;
	(void)f->ops->unlink(f, THIN_JOURNAL_FILE);
	return thin_files_error(f, "", "write", r, e);
}

/* Durable: yes. */
static int overwrite(struct thin_journal *j, size_t offset, const char *text, size_t len,
		     bool *ret_unsure, struct thin_error *e)
{
	struct thin_files *f = j->files;
	int r;

	*ret_unsure = false;
	r = f->ops->overwrite(f, THIN_JOURNAL_FILE, offset, text, len);
	if (!r) {
		r = f->ops->sync(f, THIN_JOURNAL_FILE);
		*ret_unsure = r;
	}
	return r ? thin_files_error(f, THIN_JOURNAL_FILE, "write", r, e) : 0;
}

static void blank_sector(char sector[static THIN_JOURNAL_SECTOR])
{
	memset(sector, '\n', THIN_JOURNAL_SECTOR);
}

static int write_change(struct thin_journal *j, const char *change, size_t len,
			bool *ret_unsure, struct thin_error *e)
{
	char blank[THIN_JOURNAL_SECTOR];
	int r = overwrite(j, j->used, change, len, ret_unsure, e);

	if (r && *ret_unsure) {
		/* It stays unsure; but if nothing crashes, it is gone. */
		blank_sector(blank);
		(void)j->files->ops->overwrite(j->files, THIN_JOURNAL_FILE, j->used,
					       blank, sizeof(blank));
	}
	return r;
}

/* A change that failed to be written is overwritten by the next one. */
static int append(struct thin_journal *j, const char *text, size_t len, bool *ret_unsure,
		  struct thin_error *e)
{
	struct head h = {.number = j->last + 1, .bytes = len};
	bool anew = !fits(j, len);
	_cleanup_free char *change = NULL;
	size_t room = 0, bytes;
	int r;

	if (anew)
		room = thin_max(j->room, sectors(HEAD_BYTES + len) + THIN_JOURNAL_SECTOR);
	r = format_change(&h, text, room, &change, &bytes);
	if (!r)
		r = anew ? make(j, change, bytes, ret_unsure, e)
			 : write_change(j, change, bytes, ret_unsure, e);
	if (r)
		return r;
	if (anew) {
		j->used = 0;
		j->bytes = bytes;
	}
	j->used += anew ? sectors(strcspn(change, "\n") + 1 + len) : bytes;
	j->last = h.number;
	return 0;
}

int thin_journal_append(struct thin_journal *j, const struct thin_intent *in,
			bool *ret_unsure, struct thin_error *e)
{
	_cleanup_free char *text = NULL;
	size_t len;
	int r;

	*ret_unsure = false;
	r = thin_intent_print(in, &text, &len);
	if (r)
		return r;
	if (len > THIN_INTENT_BYTES)
		return thin_error_set(e, -EDQUOT, "too many volumes in one change");
	return append(j, text, len, ret_unsure, e);
}

int thin_journal_withdraw(struct thin_journal *j, struct thin_error *e)
{
	const struct thin_intent nothing = {0};
	_cleanup_free char *text = NULL, *change = NULL;
	struct head h = {.number = j->last + 1, .after_dropped = true};
	bool unsure;
	size_t bytes;
	int r;

	r = thin_intent_print(&nothing, &text, &h.bytes);
	if (!r)
		r = format_change(&h, text, 0, &change, &bytes);
	if (!r)
		r = write_change(j, change, bytes, &unsure, e);
	if (r)
		return r;
	j->used += bytes;
	j->last = h.number;
	return 0;
}

int thin_journal_restart(struct thin_journal *j, bool *ret_unsure, struct thin_error *e)
{
	char blank[THIN_JOURNAL_SECTOR];
	int r;

	*ret_unsure = false;
	if (!j->used)
		return 0;
	blank_sector(blank);
	r = overwrite(j, 0, blank, sizeof(blank), ret_unsure, e);
	if (!r)
		j->used = 0;
	return r;
}

int thin_journal_adopt(struct thin_journal *j, struct thin_error *e)
{
	struct thin_files *f = j->files;
	int r = f->ops->sync(f, THIN_JOURNAL_FILE);

	if (!r)
		r = f->ops->sync_folder(f);
	return r ? thin_files_error(f, THIN_JOURNAL_FILE, "write", r, e) : 0;
}

int thin_journal_remove(struct thin_journal *j, bool *ret_unsure, struct thin_error *e)
{
	struct thin_files *f = j->files;
	int r = f->ops->unlink(f, THIN_JOURNAL_FILE);

	*ret_unsure = false;
	if (r && r != -ENOENT)
		return thin_files_error(f, THIN_JOURNAL_FILE, "remove", r, e);
	r = f->ops->sync_folder(f);
	*ret_unsure = r;
	if (r)
		return thin_files_error(f, "", "write", r, e);
	thin_journal_init(j, f, j->room);
	return 0;
}

/* ---- reading ---- */

/* The change at @text, if J2 says that it is one.  Returns its length, or 0. */
static size_t find_change(const char *text, size_t len, uint64_t last, struct head *ret)
{
	size_t n = parse_head(text, len, ret);

	if (!n || ret->bytes > len - n || (last && ret->number != last + 1))
		return 0;
	if (thin_crc32c(text + CRC_END, n - CRC_END + ret->bytes) != ret->crc)
		return 0;
	return n + ret->bytes;
}

static struct thin_journal_entry *grow_entries(struct thin_journal_entries *entries)
{
	void *at = reallocarray(entries->at, entries->nr + 1, sizeof(*entries->at));

	if (!at)
		return NULL;
	entries->at = at;
	entries->at[entries->nr] = (struct thin_journal_entry){0};
	return &entries->at[entries->nr++];
}

static int read_change(const char *where, const char *text, size_t len,
		       const struct head *h, struct thin_journal_entries *entries,
		       struct thin_error *e)
{
	_cleanup_free char *copy = strndup(text, len);
	struct thin_journal_entry *entry;

	if (entries->nr)
		entries->at[entries->nr - 1].dropped = h->after_dropped;
	entry = copy ? grow_entries(entries) : NULL;
	return entry ? thin_intent_parse(where, copy, len, &entry->intent, e) : -ENOMEM;
}

static int read_changes(const char *where, const char *text, size_t len,
			struct thin_journal_entries *entries, struct thin_error *e)
{
	struct head h = {0};
	size_t at = 0, n;
	int r = 0;

	while (!r && at < len) {
		n = find_change(text + at, len - at, h.number, &h);
		if (!n)
			break;
		r = read_change(where, text + at, n, &h, entries, e);
		at += sectors(n);
	}
	return r;
}

int thin_journal_load(struct thin_files *f, struct thin_journal_entries *ret,
		      struct thin_error *e)
{
	_cleanup_free char *text = NULL, *where = NULL;
	struct thin_journal_entries entries = {0};
	size_t len;
	int r;

	r = thin_files_read(f, THIN_JOURNAL_FILE, 2 * THIN_INTENT_BYTES, &text, &len, e);
	if (r)
		return r;
	if (asprintf(&where, "%s/" THIN_JOURNAL_FILE, f->where) < 0) {
		where = NULL;
		return -ENOMEM;
	}
	r = read_changes(where, text, len, &entries, e);
	if (r)
		thin_journal_entries_fini(&entries);
	else
		*ret = entries;
	return r;
}

void thin_journal_entries_fini(struct thin_journal_entries *entries)
{
	for (size_t i = 0; i < entries->nr; i++)
		thin_intent_fini(&entries->at[i].intent);
	free(entries->at);
	*entries = (struct thin_journal_entries){0};
}
