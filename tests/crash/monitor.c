/* SPDX-License-Identifier: BSD-3-Clause */
#include "monitor.h"

#include "undurable.h"
#include "view.h"

#include "format/block.h"
#include "util/checked.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Two superblocks may be what a crash leaves: the last one that is durable,
 * and one that was written since.  What a rule says of "such superblocks" is
 * asked of both views.  (A second one may be written before the first is
 * durable, needs_check being set; it has the same roots, and takes its place.)
 */

/* Where a client's write went: checked when a flush is answered (O6). */
struct place {
	uint32_t device;
	uint64_t vblock, dblock;
	uint64_t stamp;
};

struct monitor {
	struct rec_listener listener;
	struct recorder *rec;
	unsigned flags;

	bool looked; /* at what was there before */
	bool has_durable, has_written;
	struct view durable, written;
	uint64_t durable_submit;		   /* stamp of the durable one */
	uint64_t written_submit, written_complete; /* stamps of the other */

	struct undurable undurable[REC_FILES];
	uint64_t durable_size[REC_FILES];
	uint64_t nr_blocks;   /* entries below; at least the views' nr_data */
	uint64_t *last_write; /* stamps: to each data block */
	bool *filled; /* sectors that became durable since their block was freed */
	uint64_t block_sectors;

	struct place *places;
	size_t nr_places, room;

	bool flush_failed;
	char verdict[256];
};

static void __attribute__((format(printf, 3, 4)))
blame(struct monitor *mon, const struct rec_entry *e, const char *fmt, ...)
{
	char what[128];
	va_list args;

	if (mon->verdict[0])
		return;
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	snprintf(mon->verdict, sizeof(mon->verdict), "%s: %.100s", what,
		 e ? rec_describe(e) : "");
	fprintf(stderr, "monitor: %s\n", mon->verdict);
}

static bool strict(const struct monitor *mon)
{
	return mon->flags & MONITOR_STRICT;
}

/* --- data blocks ------------------------------------------------------------ */

static void make_room(struct monitor *mon, uint64_t nr)
{
	uint64_t old = mon->nr_blocks;

	if (nr <= old)
		return;
	mon->last_write = must_grow(mon->last_write, nr, sizeof(*mon->last_write));
	memset(mon->last_write + old, 0, (nr - old) * sizeof(*mon->last_write));
	mon->filled = must_grow(mon->filled, nr, mon->block_sectors);
	memset(mon->filled + old * mon->block_sectors, 0,
	       (nr - old) * mon->block_sectors);
	mon->nr_blocks = nr;
}

static const struct view_data *data_of(const struct view *v, uint64_t dblock)
{
	static const struct view_data nobody;

	return dblock < v->nr_data ? &v->data[dblock] : &nobody;
}

static bool refers(const struct view *v, uint64_t dblock)
{
	const struct view_data *d = data_of(v, dblock);

	return d->live || d->held;
}

static bool any_refers(const struct monitor *mon, uint64_t dblock)
{
	return refers(&mon->durable, dblock) ||
	       (mon->has_written && refers(&mon->written, dblock));
}

/* The blocks that @e touches: [*first, *end). */
static void blocks_of(const struct monitor *mon, const struct rec_entry *e,
		      uint64_t *first, uint64_t *end)
{
	uint64_t bs = mon->durable.block_size;

	*first = e->offset / bs;
	*end = thin_div_up(e->offset + e->len, bs);
}

/* --- superblocks -------------------------------------------------------------- */

static void note_freed(struct monitor *mon, const struct view *old,
		       const struct view *new)
{
	for (uint64_t b = 0; b < old->nr_data; b++) {
		if (refers(old, b) && !refers(new, b))
			memset(mon->filled + b * mon->block_sectors, 0,
			       mon->block_sectors);
	}
}

static void promote(struct monitor *mon)
{
	note_freed(mon, &mon->durable, &mon->written);
	view_fini(&mon->durable);
	mon->durable = mon->written;
	mon->durable_submit = mon->written_submit;
	mon->written = (struct view){0};
	mon->has_durable = true;
	mon->has_written = false;
}

/* What a pool that was there before us says; a blank one says nothing. */
static void look(struct monitor *mon)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t block[THIN_METADATA_BLOCK];
	struct thin_storage *s = rec_under(mon->rec, REC_METADATA);

	mon->looked = true;
	for (unsigned f = 0; f < REC_FILES; f++)
		if (rec_under(mon->rec, f) &&
		    thin_storage_size(rec_under(mon->rec, f), &mon->durable_size[f]))
			abort();
	if (thin_storage_read_at(s, 0, block, sizeof(block)) ||
	    view_read(&mon->durable, s, block)) {
		view_fini(&mon->durable);
		return;
	}
	mon->has_durable = true;
	mon->block_sectors = mon->durable.block_size / THIN_SECTOR;
	make_room(mon, mon->durable.nr_data);
	for (uint64_t b = 0; b < mon->durable.nr_data; b++)
		memset(mon->filled + b * mon->block_sectors, refers(&mon->durable, b),
		       mon->block_sectors);
}

/* O2. */
static void check_reached(struct monitor *mon, const struct rec_entry *e)
{
	const struct undurable *u = &mon->undurable[REC_METADATA];

	for (size_t i = 0; i < u->nr; i++) {
		uint64_t block = u->writes[i].first / (THIN_METADATA_BLOCK / THIN_SECTOR);

		if (block && block < mon->written.nr_metadata &&
		    mon->written.reached[block])
			blame(mon, e, "O2: metadata block %" PRIu64 " is not durable",
			      block);
	}
	if (mon->written.nr_metadata * THIN_METADATA_BLOCK >
	    mon->durable_size[REC_METADATA])
		blame(mon, e, "O2: the metadata's size is not durable");
	if (rec_under(mon->rec, REC_DATA) &&
	    mon->written.nr_data * mon->written.block_size > mon->durable_size[REC_DATA])
		blame(mon, e, "O2: the data's size is not durable");
}

/* O3. */
static void check_new_data(struct monitor *mon, const struct rec_entry *e)
{
	const struct undurable *u = &mon->undurable[REC_DATA];

	for (uint64_t b = 0; b < mon->written.nr_data; b++) {
		const bool *filled = mon->filled + b * mon->block_sectors;

		if (!refers(&mon->written, b) || refers(&mon->durable, b))
			continue;
		if (memchr(filled, 0, mon->block_sectors))
			blame(mon, e, "O3: data block %" PRIu64 " is not durable in full",
			      b);
		if (strict(mon) && undurable_touches(u, b * mon->block_sectors,
						     (b + 1) * mon->block_sectors))
			blame(mon, e,
			      "O3: a write to data block %" PRIu64 " is not durable", b);
	}
}

static void superblock_submitted(struct monitor *mon, const struct rec_entry *e)
{
	struct view v;

	if (view_read(&v, rec_under(mon->rec, REC_METADATA), e->buf)) {
		blame(mon, e, "O2: what the superblock refers to is not there: %s",
		      v.why);
		view_fini(&v);
		return;
	}
	view_fini(&mon->written);
	mon->written = v;
	mon->has_written = true;
	mon->written_submit = e->submit;
	mon->written_complete = 0;
	mon->block_sectors = v.block_size / THIN_SECTOR;
	make_room(mon, v.nr_data);
	check_reached(mon, e);
	if (rec_under(mon->rec, REC_DATA))
		check_new_data(mon, e);
}

/* --- metadata writes -------------------------------------------------------------- */

/* O9. */
static void check_sealed(struct monitor *mon, const struct rec_entry *e, uint64_t block)
{
	for (unsigned kind = 0; kind < THIN_BLOCK_KINDS; kind++)
		if (!thin_block_verify(kind, e->buf, block))
			return;
	blame(mon, e, "O9: it is not sealed");
}

/* O1. */
static void check_not_in_use(struct monitor *mon, const struct view *v,
			     const struct rec_entry *e, uint64_t block)
{
	if (block < v->nr_metadata && v->reached[block])
		blame(mon, e, "O1: metadata block %" PRIu64 " is in use", block);
	else if (block < v->nr_metadata && v->count[block])
		blame(mon, e, "O1: metadata block %" PRIu64 " has count %u", block,
		      v->count[block]);
}

static void metadata_submitted(struct monitor *mon, const struct rec_entry *e)
{
	uint64_t block = e->offset / THIN_METADATA_BLOCK;

	if (e->op != REC_WRITE)
		return; /* formatting zeroes, growing resizes */
	if (e->offset % THIN_METADATA_BLOCK || e->len != THIN_METADATA_BLOCK) {
		blame(mon, e, "O9: it is not one block");
		return;
	}
	check_sealed(mon, e, block);
	if (!block) {
		superblock_submitted(mon, e);
		return;
	}
	if (mon->has_durable)
		check_not_in_use(mon, &mon->durable, e, block);
	if (mon->has_written)
		check_not_in_use(mon, &mon->written, e, block);
}

/* --- data writes -------------------------------------------------------------------- */

static bool owns(const struct monitor *mon, const struct rec_owner *o,
		 const struct view_data *d)
{
	uint64_t bs = mon->durable.block_size;

	if (!o->known)
		return true; /* the test does not say */
	return o->device == d->device && o->begin < (d->vblock + 1) * bs &&
	       o->end > d->vblock * bs;
}

/* O4. */
static void check_exclusive(struct monitor *mon, const struct view *v,
			    const struct rec_entry *e, uint64_t dblock)
{
	const struct view_data *d = data_of(v, dblock);

	if (!d->live && !d->held)
		return;
	if (d->live != 1)
		blame(mon, e, "O4: data block %" PRIu64 " is in use in %u places", dblock,
		      d->live + d->held);
	else if (!owns(mon, &e->owner, d))
		blame(mon, e, "O4: data block %" PRIu64 " is device %u's at %" PRIu64,
		      dblock, d->device, d->vblock);
}

static void note_place(struct monitor *mon, const struct rec_entry *e, uint64_t vblock,
		       uint64_t dblock)
{
	struct place *p = NULL;

	for (size_t i = 0; i < mon->nr_places && !p; i++)
		if (mon->places[i].device == e->owner.device &&
		    mon->places[i].vblock == vblock)
			p = &mon->places[i];
	if (!p && mon->nr_places == mon->room) {
		mon->room = mon->room ? 2 * mon->room : 64;
		mon->places = must_grow(mon->places, mon->room, sizeof(*mon->places));
	}
	if (!p)
		p = &mon->places[mon->nr_places++];
	*p = (struct place){e->owner.device, vblock, dblock, e->submit};
}

/* A request that touches one block of its volume writes to one block. */
static void note_places(struct monitor *mon, const struct rec_entry *e, uint64_t dblock)
{
	uint64_t bs = mon->durable.block_size;

	if (strict(mon) && e->owner.known &&
	    e->owner.begin / bs == (e->owner.end - 1) / bs)
		note_place(mon, e, e->owner.begin / bs, dblock);
}

/* O5, the other way round. */
static void check_not_punched(struct monitor *mon, const struct rec_entry *e,
			      uint64_t dblock)
{
	const struct undurable *u = &mon->undurable[REC_DATA];

	for (size_t i = 0; i < u->nr; i++)
		if (u->writes[i].op == REC_PUNCH && !u->writes[i].complete &&
		    u->writes[i].first < (dblock + 1) * mon->block_sectors &&
		    u->writes[i].end > dblock * mon->block_sectors)
			blame(mon, e, "O5: data block %" PRIu64 " is being punched",
			      dblock);
}

static void write_submitted(struct monitor *mon, const struct rec_entry *e)
{
	uint64_t first, end;

	blocks_of(mon, e, &first, &end);
	make_room(mon, end);
	for (uint64_t b = first; b < end; b++) {
		check_exclusive(mon, &mon->durable, e, b);
		if (mon->has_written)
			check_exclusive(mon, &mon->written, e, b);
		check_not_punched(mon, e, b);
		mon->last_write[b] = e->submit;
		note_places(mon, e, b);
	}
}

/* O5. */
static void punch_submitted(struct monitor *mon, const struct rec_entry *e)
{
	uint64_t first, end;

	blocks_of(mon, e, &first, &end);
	make_room(mon, end);
	for (uint64_t b = first; b < end; b++) {
		if (any_refers(mon, b))
			blame(mon, e, "O5: data block %" PRIu64 " is in use", b);
		if (undurable_under_way(&mon->undurable[REC_DATA], b * mon->block_sectors,
					(b + 1) * mon->block_sectors))
			blame(mon, e, "O5: data block %" PRIu64 " is being written", b);
		if (mon->flags && mon->last_write[b] > mon->durable_submit)
			blame(mon, e,
			      "O5: data block %" PRIu64
			      " has been written since it came free",
			      b);
	}
}

static void data_submitted(struct monitor *mon, const struct rec_entry *e)
{
	if (!mon->has_durable || !e->len)
		return;
	if (e->op == REC_PUNCH)
		punch_submitted(mon, e);
	else if (e->op == REC_WRITE || e->op == REC_ZERO)
		write_submitted(mon, e);
}

/* --- the listener ------------------------------------------------------------------- */

static struct monitor *to_monitor(struct rec_listener *l)
{
	return (struct monitor *)l;
}

static void submitted(struct rec_listener *l, const struct rec_entry *e)
{
	struct monitor *mon = to_monitor(l);

	if (e->op == REC_MARK || e->file == REC_FOLDER)
		return;
	if (!mon->looked)
		look(mon);
	if (mon->flush_failed && strict(mon))
		blame(mon, e, "O7: after a flush that failed");
	if (e->op == REC_FLUSH)
		return;
	if (e->file == REC_METADATA)
		metadata_submitted(mon, e);
	else
		data_submitted(mon, e);
	undurable_add(&mon->undurable[e->file], e);
}

/* A write or a resize is durable. */
static void settled(void *ctx, const struct undurable_write *w)
{
	struct monitor *mon = ctx;

	if (w->op == REC_RESIZE)
		mon->durable_size[w->file] = w->size;
	if (w->file != REC_DATA || !mon->block_sectors || w->op == REC_RESIZE)
		return;
	for (uint64_t s = w->first; s < w->end; s++)
		if (s < mon->nr_blocks * mon->block_sectors)
			mon->filled[s] = w->op != REC_PUNCH;
}

static void flush_completed(struct monitor *mon, const struct rec_entry *e)
{
	if (e->result) {
		mon->flush_failed = true;
		return;
	}
	undurable_flush(&mon->undurable[e->file], e->submit, settled, mon);
	if (e->file == REC_METADATA && mon->has_written && mon->written_complete &&
	    mon->written_complete < e->submit)
		promote(mon);
}

static void completed(struct rec_listener *l, const struct rec_entry *e)
{
	struct monitor *mon = to_monitor(l);

	if (e->op == REC_FLUSH)
		flush_completed(mon, e);
	else if (rec_changes(e))
		undurable_complete(&mon->undurable[e->file], e);
	if (e->op == REC_WRITE && e->file == REC_METADATA && !e->offset && !e->result &&
	    e->submit == mon->written_submit)
		mon->written_complete = e->complete;
}

/* --- the monitor ----------------------------------------------------------------------
 */

struct monitor *monitor_new(struct recorder *rec, unsigned flags)
{
	struct monitor *mon = must_alloc(1, sizeof(*mon));

	mon->listener =
		(struct rec_listener){.submitted = submitted, .completed = completed};
	mon->rec = rec;
	mon->flags = flags;
	rec_listen(rec, &mon->listener);
	return mon;
}

void monitor_restart(struct monitor *mon)
{
	view_fini(&mon->durable);
	view_fini(&mon->written);
	for (unsigned f = 0; f < REC_FILES; f++)
		undurable_fini(&mon->undurable[f]);
	free(mon->last_write);
	free(mon->filled);
	mon->last_write = NULL;
	mon->filled = NULL;
	mon->nr_blocks = mon->block_sectors = 0;
	mon->nr_places = 0;
	mon->looked = mon->has_durable = mon->has_written = mon->flush_failed = false;
}

void monitor_free(struct monitor *mon)
{
	if (!mon)
		return;
	monitor_restart(mon);
	free(mon->places);
	free(mon);
}

const char *monitor_verdict(const struct monitor *mon)
{
	return mon->verdict;
}

/* --- O6
 * --------------------------------------------------------------------------------- */

static bool concerns(const struct monitor *mon, const struct place *p, uint32_t device,
		     uint64_t begin, uint64_t end)
{
	uint64_t bs = mon->durable.block_size;

	return p->device == device && p->vblock * bs < end &&
	       (p->vblock + 1) * bs > begin;
}

void monitor_flushed(struct monitor *mon, uint32_t device, uint64_t issued,
		     uint64_t begin, uint64_t end)
{
	for (size_t i = 0; i < mon->nr_places; i++) {
		const struct place *p = &mon->places[i];

		if (!concerns(mon, p, device, begin, end) || p->stamp > issued)
			continue;
		if (view_find(&mon->durable, device, p->vblock) != p->dblock)
			blame(mon, NULL,
			      "O6: device %u's mapping of %" PRIu64 " is not durable",
			      device, p->vblock);
		if (undurable_completed(&mon->undurable[REC_DATA],
					p->dblock * mon->block_sectors,
					(p->dblock + 1) * mon->block_sectors, issued))
			blame(mon, NULL,
			      "O6: device %u's data of %" PRIu64 " are not durable",
			      device, p->vblock);
	}
}

void monitor_forget(struct monitor *mon, uint32_t device, uint64_t begin, uint64_t end)
{
	size_t kept = 0;

	if (!mon->has_durable)
		return;
	for (size_t i = 0; i < mon->nr_places; i++)
		if (!concerns(mon, &mon->places[i], device, begin, end))
			mon->places[kept++] = mon->places[i];
	mon->nr_places = kept;
}
