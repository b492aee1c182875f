/* SPDX-License-Identifier: BSD-3-Clause */
#include "replay.h"

#include "util/checked.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct replay_event {
	const struct rec_entry *e;
	bool completes;
};

uint64_t replay_hash_sector(const void *p)
{
	uint64_t words[THIN_SECTOR / 8], h = 0;

	memcpy(words, p, sizeof(words));
	for (unsigned i = 0; i < THIN_SECTOR / 8; i++)
		h = (h ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15) + (h >> 29);
	return stamp_mix(h);
}

static uint64_t zero_hash(void)
{
	static const uint8_t zeros[THIN_SECTOR];

	return replay_hash_sector(zeros);
}

/* --- what is durable --------------------------------------------------------- */

static uint64_t nr_sectors(const struct disk *d)
{
	return d->size / THIN_SECTOR;
}

/* New sectors are zeros; those that are cut off count no more. */
static void resize(struct replay *rp, enum rec_file f, uint64_t bytes)
{
	uint64_t old = nr_sectors(&rp->durable[f]), new = bytes / THIN_SECTOR;

	for (uint64_t s = new; s < old; s++)
		rp->sum -= replay_place(f, s, rp->hash[f][s]);
	if (new > rp->hash_room[f]) {
		rp->hash[f] = must_grow(rp->hash[f], new, sizeof(uint64_t));
		rp->hash_room[f] = new;
	}
	for (uint64_t s = old; s < new; s++) {
		rp->hash[f][s] = zero_hash();
		rp->sum += replay_place(f, s, rp->hash[f][s]);
	}
	disk_set_size(&rp->durable[f], bytes);
}

static void set_sector(struct replay *rp, enum rec_file f, uint64_t s,
		       const uint8_t *bytes, uint64_t hash)
{
	uint64_t *h = &rp->hash[f][s];

	rp->sum += replay_place(f, s, hash) - replay_place(f, s, *h);
	*h = hash;
	if (bytes)
		memcpy(rp->durable[f].bytes + s * THIN_SECTOR, bytes, THIN_SECTOR);
	else
		memset(rp->durable[f].bytes + s * THIN_SECTOR, 0, THIN_SECTOR);
}

static bool punched(const struct replay *rp, const struct rec_entry *e)
{
	return stamp_mix(rp->seed ^ e->submit) & 1;
}

static void make_durable(struct replay *rp, const struct replay_change *c)
{
	const struct rec_entry *e = c->e;
	uint64_t first = rec_first_sector(e), end = rec_end_sector(e);

	if (e->op == REC_RESIZE) {
		resize(rp, e->file, e->len);
		return;
	}
	if (e->op == REC_PUNCH && !punched(rp, e))
		return;
	if (end > nr_sectors(&rp->durable[e->file]))
		resize(rp, e->file, end * THIN_SECTOR);
	for (uint64_t s = first; s < end; s++) {
		if (e->op == REC_PUNCH)
			set_sector(rp, e->file, s, NULL, zero_hash());
		else
			set_sector(rp, e->file, s, e->sectors + (s - first) * THIN_SECTOR,
				   c->hash[s - first]);
	}
}

/* --- events ------------------------------------------------------------------- */

static void submitted(struct replay *rp, const struct rec_entry *e)
{
	uint64_t nr = rec_end_sector(e) - rec_first_sector(e);
	struct replay_change *c;

	if (rp->nr_changes == rp->room) {
		rp->room = rp->room ? 2 * rp->room : 64;
		rp->changes = must_grow(rp->changes, rp->room, sizeof(*rp->changes));
	}
	c = &rp->changes[rp->nr_changes++];
	*c = (struct replay_change){.e = e};
	if (!e->sectors)
		return;
	c->hash = must_alloc(nr, sizeof(*c->hash));
	for (uint64_t i = 0; i < nr; i++)
		c->hash[i] = replay_hash_sector(e->sectors + i * THIN_SECTOR);
}

static void completed(struct replay *rp, const struct rec_entry *e)
{
	for (size_t i = 0; i < rp->nr_changes; i++)
		if (rp->changes[i].e == e)
			rp->changes[i].completed = true;
}

/*
 * S2.  Of a write that failed nobody knows what it left, before and after a
 * flush; here a flush decides it by the seed.
 */
static void flushed(struct replay *rp, const struct rec_entry *flush)
{
	size_t kept = 0;

	if (flush->result)
		return;
	for (size_t i = 0; i < rp->nr_changes; i++) {
		struct replay_change *c = &rp->changes[i];

		if (c->e->file != flush->file || !c->completed ||
		    c->e->complete > flush->submit) {
			rp->changes[kept++] = *c;
			continue;
		}
		if (!c->e->result || punched(rp, c->e))
			make_durable(rp, c);
		free(c->hash);
	}
	rp->version += kept != rp->nr_changes;
	rp->nr_changes = kept;
}

/*
 * The pool was opened again after something failed, and has read what there
 * is: it is not open any more what a write that failed has done.
 */
static void looked_at(struct replay *rp)
{
	size_t kept = 0;

	for (size_t i = 0; i < rp->nr_changes; i++) {
		struct replay_change *c = &rp->changes[i];
		uint64_t first = rec_first_sector(c->e), end = rec_end_sector(c->e);

		if (!c->completed || !c->e->result) {
			rp->changes[kept++] = *c;
			continue;
		}
		for (uint64_t s = first; c->e->actual && s < end; s++) {
			const uint8_t *p = c->e->actual + (s - first) * THIN_SECTOR;

			set_sector(rp, c->e->file, s, p, replay_hash_sector(p));
		}
		free(c->hash);
	}
	rp->version++;
	rp->nr_changes = kept;
}

const struct rec_entry *replay_next(const struct replay *rp, bool *ret_completes)
{
	const struct replay_event *ev = &rp->events[rp->now + 1];

	if (rp->now >= rec_now(rp->rec))
		return NULL;
	*ret_completes = ev->completes;
	return ev->e;
}

void replay_step(struct replay *rp)
{
	const struct replay_event *ev = &rp->events[++rp->now];
	const struct rec_entry *e = ev->e;

	if (!e)
		return;
	if (rp->step)
		rp->step(rp->step_ctx, rp, e, ev->completes);
	if (e->op == REC_MARK && !ev->completes) {
		model_apply(&rp->model, &e->mark, e->submit);
		if (e->mark.kind == MARK_RESTART)
			looked_at(rp);
	} else if (e->op == REC_FLUSH && ev->completes) {
		flushed(rp, e);
	} else if (rec_changes(e) && ev->completes) {
		completed(rp, e);
	} else if (rec_changes(e)) {
		submitted(rp, e);
	}
}

/* --- the whole ------------------------------------------------------------------ */

static void sort_events(struct replay *rp)
{
	uint64_t first = UINT64_MAX;

	rp->events = must_alloc(rec_now(rp->rec) + 1, sizeof(*rp->events));
	for (size_t i = 0; i < rec_length(rp->rec); i++) {
		const struct rec_entry *e = rec_at(rp->rec, i);

		rp->events[e->submit] = (struct replay_event){.e = e};
		if (e->complete)
			rp->events[e->complete] =
				(struct replay_event){.e = e, .completes = true};
		first = thin_min(first, e->submit);
	}
	rp->now = first == UINT64_MAX ? rec_now(rp->rec) : first - 1;
}

static void load(struct replay *rp, enum rec_file f, const struct disk *before)
{
	disk_init(&rp->durable[f], 0);
	resize(rp, f, before->size);
	for (uint64_t s = 0; s < nr_sectors(before); s++)
		set_sector(rp, f, s, before->bytes + s * THIN_SECTOR,
			   replay_hash_sector(before->bytes + s * THIN_SECTOR));
}

void replay_init(struct replay *rp, struct recorder *rec, const struct disk *before,
		 const struct model *model, uint64_t seed)
{
	*rp = (struct replay){.rec = rec, .seed = seed};
	for (unsigned f = 0; f < REC_FILES; f++)
		load(rp, f, &before[f]);
	model_copy(&rp->model, model);
	sort_events(rp);
}

void replay_fini(struct replay *rp)
{
	for (size_t i = 0; i < rp->nr_changes; i++)
		free(rp->changes[i].hash);
	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_fini(&rp->durable[f]);
		free(rp->hash[f]);
	}
	model_fini(&rp->model);
	free(rp->changes);
	free(rp->events);
}
