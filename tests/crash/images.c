/* SPDX-License-Identifier: BSD-3-Clause */
#include "images.h"

#include "util/checked.h"

#include <stdlib.h>
#include <string.h>

/*
 * An image is made from what is durable by applying picked sectors of the
 * changes, in the order of their submission; making the next one takes them
 * back, so that its cost is that of the sectors and not that of the disks.
 */

struct image_undo {
	enum rec_file file;
	uint64_t sector;
};

/* Which sectors of a change survive. */
struct image_pick {
	uint64_t mask; /* bit i % 64 for its i-th sector */
	uint64_t seed; /* not 0: by chance instead */
};

#define PICK_NONE      ((struct image_pick){0, 0})
#define PICK_ALL       ((struct image_pick){UINT64_MAX, 0})
#define PICK_MASK(m)   ((struct image_pick){(m), 0})
#define PICK_RANDOM(s) ((struct image_pick){0, (s) | 1})

/* --- seen -------------------------------------------------------------------- */

static bool put(struct seen *s, uint64_t key)
{
	size_t i = (size_t)stamp_mix(key) & (s->room - 1);

	while (s->slots[i] && s->slots[i] != key)
		i = (i + 1) & (s->room - 1);
	if (s->slots[i])
		return false;
	s->slots[i] = key;
	return true;
}

static void grow(struct seen *s)
{
	uint64_t *old = s->slots;
	size_t room = s->room;

	s->room = room ? 2 * room : 1024;
	s->slots = must_alloc(s->room, sizeof(*s->slots));
	for (size_t i = 0; i < room; i++)
		if (old[i])
			put(s, old[i]);
	free(old);
}

bool seen_add(struct seen *s, uint64_t key)
{
	if (2 * s->nr >= s->room)
		grow(s);
	if (!put(s, key ? key : 1))
		return false;
	s->nr++;
	return true;
}

void seen_fini(struct seen *s)
{
	free(s->slots);
	*s = (struct seen){0};
}

/* --- one image ------------------------------------------------------------------ */

static bool survives(const struct image_pick *p, uint64_t i)
{
	if (p->seed)
		return stamp_mix(p->seed + i * 2) & 1;
	return p->mask >> (i % 64) & 1;
}

static void copy_all(struct image *img, const struct replay *rp)
{
	for (unsigned f = 0; f < REC_FILES; f++) {
		uint64_t nr = rp->durable[f].size / THIN_SECTOR;

		if (!img->disk[f].base.ops)
			disk_init(&img->disk[f], 0);
		disk_copy(&img->disk[f], &rp->durable[f]);
		if (nr > img->hash_room[f]) {
			img->hash[f] = must_grow(img->hash[f], nr, sizeof(uint64_t));
			img->hash_room[f] = nr;
		}
		if (nr)
			memcpy(img->hash[f], rp->hash[f], nr * sizeof(uint64_t));
	}
	img->nr_undo = 0;
	img->version = rp->version;
	img->fresh = true;
}

static void take_back(struct image *img, const struct replay *rp)
{
	if (!img->fresh || img->version != rp->version) {
		copy_all(img, rp);
	} else {
		for (size_t i = 0; i < img->nr_undo; i++) {
			const struct image_undo *u = &img->undo[i];

			memcpy(img->disk[u->file].bytes + u->sector * THIN_SECTOR,
			       rp->durable[u->file].bytes + u->sector * THIN_SECTOR,
			       THIN_SECTOR);
			img->hash[u->file][u->sector] = rp->hash[u->file][u->sector];
		}
		img->nr_undo = 0;
	}
	for (unsigned f = 0; f < REC_FILES; f++)
		img->disk[f].changes = 0;
	img->sum = rp->sum;
}

static void note_undo(struct image *img, enum rec_file f, uint64_t sector)
{
	if (img->nr_undo == img->undo_room) {
		img->undo_room = img->undo_room ? 2 * img->undo_room : 256;
		img->undo = must_grow(img->undo, img->undo_room, sizeof(*img->undo));
	}
	img->undo[img->nr_undo++] = (struct image_undo){f, sector};
}

static void set_sector(struct image *img, enum rec_file f, uint64_t sector,
		       const uint8_t *bytes, uint64_t hash)
{
	uint64_t *h = &img->hash[f][sector];

	note_undo(img, f, sector);
	img->sum += replay_place(f, sector, hash) - replay_place(f, sector, *h);
	*h = hash;
	memcpy(img->disk[f].bytes + sector * THIN_SECTOR, bytes, THIN_SECTOR);
}

static const uint8_t zeros[THIN_SECTOR];

static void resize(struct image *img, enum rec_file f, uint64_t bytes)
{
	uint64_t old = img->disk[f].size / THIN_SECTOR, new = bytes / THIN_SECTOR;

	for (uint64_t s = new; s < old; s++)
		img->sum -= replay_place(f, s, img->hash[f][s]);
	if (new > img->hash_room[f]) {
		img->hash[f] = must_grow(img->hash[f], new, sizeof(uint64_t));
		img->hash_room[f] = new;
	}
	for (uint64_t s = old; s < new; s++) {
		img->hash[f][s] = replay_hash_sector(zeros);
		img->sum += replay_place(f, s, img->hash[f][s]);
	}
	disk_set_size(&img->disk[f], bytes);
	img->fresh = false;
}

static void apply(struct image *img, const struct replay_change *c,
		  const struct image_pick *p)
{
	const struct rec_entry *e = c->e;
	uint64_t first = rec_first_sector(e), end = rec_end_sector(e);

	if (e->op == REC_RESIZE) {
		if (survives(p, 0))
			resize(img, e->file, e->len);
		return;
	}
	for (uint64_t s = first; s < end; s++) {
		if (!survives(p, s - first))
			continue;
		if (s >= img->disk[e->file].size / THIN_SECTOR)
			resize(img, e->file, (s + 1) * THIN_SECTOR);
		if (e->op == REC_PUNCH)
			set_sector(img, e->file, s, zeros, replay_hash_sector(zeros));
		else
			set_sector(img, e->file, s,
				   e->sectors + (s - first) * THIN_SECTOR,
				   c->hash[s - first]);
	}
}

void image_fini(struct image *img)
{
	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_fini(&img->disk[f]);
		free(img->hash[f]);
	}
	free(img->undo);
	*img = (struct image){0};
}

/* --- families --------------------------------------------------------------------- */

/* The changes of one storage, and what is picked of them. */
struct side {
	size_t nr;
	size_t *index; /* of the replay's changes */
};

struct point {
	struct images *im;
	const struct replay *rp;
	struct side side[REC_FILES];
	uint64_t model; /* its hash */
};

static int show(struct point *pt, const char *how)
{
	struct images *im = pt->im;
	struct image *img = &im->image;

	take_back(img, pt->rp);
	for (size_t i = 0; i < pt->rp->nr_changes; i++)
		apply(img, &pt->rp->changes[i], &im->picks[i]);
	img->how = how;
	im->counts->images++;
	if (!seen_add(im->seen, stamp_mix(img->sum) ^ pt->model))
		return 0;
	im->counts->distinct++;
	return im->fn(im->ctx, img, pt->rp);
}

static void pick(struct point *pt, enum rec_file f, size_t i, struct image_pick p)
{
	pt->im->picks[pt->side[f].index[i]] = p;
}

static void pick_range(struct point *pt, enum rec_file f, size_t from, size_t to,
		       struct image_pick p)
{
	for (size_t i = from; i < to; i++)
		pick(pt, f, i, p);
}

static void pick_all(struct point *pt, enum rec_file f, struct image_pick p)
{
	pick_range(pt, f, 0, pt->side[f].nr, p);
}

static uint64_t throw_dice(struct point *pt)
{
	return stamp_mix(++pt->im->dice * UINT64_C(0x9e3779b97f4a7c15));
}

/* Each sector of each change for itself. */
static void pick_random(struct point *pt, enum rec_file f)
{
	for (size_t i = 0; i < pt->side[f].nr; i++)
		pick(pt, f, i, PICK_RANDOM(throw_dice(pt)));
}

/* Something for the other side: in turn none, all, and by chance. */
static void pick_other(struct point *pt, enum rec_file f)
{
	uint64_t turn = throw_dice(pt) % 4;

	if (turn < 2)
		pick_all(pt, f, turn ? PICK_ALL : PICK_NONE);
	else
		pick_random(pt, f);
}

static enum rec_file other(enum rec_file f)
{
	return f == REC_METADATA ? REC_DATA : REC_METADATA;
}

static int subsets(struct point *pt, enum rec_file f)
{
	int r = 0;

	for (uint64_t set = 0; set < UINT64_C(1) << pt->side[f].nr && !r; set++) {
		for (size_t i = 0; i < pt->side[f].nr; i++)
			pick(pt, f, i, set >> i & 1 ? PICK_ALL : PICK_NONE);
		pick_other(pt, other(f));
		r = show(pt, "subset");
	}
	return r;
}

/* Where there are very many of a kind, some of them have to do. */
#define MANY 64

static size_t stride(const struct point *pt, enum rec_file f)
{
	return 1 + pt->side[f].nr / MANY;
}

static int prefixes(struct point *pt, enum rec_file f)
{
	int r = 0;

	for (size_t n = 0; n <= pt->side[f].nr && !r; n += stride(pt, f)) {
		pick_range(pt, f, 0, n, PICK_ALL);
		pick_range(pt, f, n, pt->side[f].nr, PICK_NONE);
		pick_other(pt, other(f));
		r = show(pt, "prefix");
		if (r)
			break;
		pick_range(pt, f, 0, n, PICK_NONE);
		pick_range(pt, f, n, pt->side[f].nr, PICK_ALL);
		r = show(pt, "suffix");
	}
	return r;
}

static int singles(struct point *pt, enum rec_file f)
{
	int r = 0;

	for (size_t i = 0; i < pt->side[f].nr && !r; i += stride(pt, f)) {
		pick_other(pt, other(f));
		pick_all(pt, f, PICK_NONE);
		pick(pt, f, i, PICK_ALL);
		r = show(pt, "one alone");
		if (r)
			break;
		pick_all(pt, f, PICK_ALL);
		pick(pt, f, i, PICK_NONE);
		r = show(pt, "all but one");
	}
	return r;
}

static int random_subsets(struct point *pt)
{
	int r = 0;

	for (unsigned n = 0; n < pt->im->random_subsets && !r; n++) {
		for (size_t i = 0; i < pt->side[REC_METADATA].nr; i++)
			pick(pt, REC_METADATA, i,
			     throw_dice(pt) & 1 ? PICK_ALL : PICK_NONE);
		pick_other(pt, REC_DATA);
		r = show(pt, "random subset");
	}
	return r;
}

/* Metadata blocks of which some sectors are old and some new. */
static int torn(struct point *pt)
{
	static const uint64_t masks[] = {0x01, 0xfe, 0x55, 0x80};
	int r = 0;

	for (size_t i = 0; i < pt->side[REC_METADATA].nr && !r;
	     i += stride(pt, REC_METADATA)) {
		for (unsigned m = 0; m < 8 && !r; m++) {
			pick_all(pt, REC_METADATA, m & 1 ? PICK_ALL : PICK_NONE);
			pick(pt, REC_METADATA, i, PICK_MASK(masks[m / 2]));
			pick_other(pt, REC_DATA);
			r = show(pt, "torn");
		}
	}
	return r;
}

static int data_mixes(struct point *pt)
{
	int r = 0;

	for (unsigned n = 0; n < pt->im->random_mixes && !r; n++) {
		pick_random(pt, REC_DATA);
		pick_all(pt, REC_METADATA, n & 1 ? PICK_ALL : PICK_NONE);
		r = show(pt, "data mix");
	}
	return r;
}

static int metadata_families(struct point *pt)
{
	int r;

	if (pt->side[REC_METADATA].nr <= pt->im->max_exact) {
		r = subsets(pt, REC_METADATA);
	} else {
		r = prefixes(pt, REC_METADATA);
		if (!r)
			r = singles(pt, REC_METADATA);
		if (!r)
			r = random_subsets(pt);
	}
	return r ? r : torn(pt);
}

static int data_families(struct point *pt)
{
	int r;

	if (!pt->side[REC_DATA].nr)
		return 0;
	r = prefixes(pt, REC_DATA);
	if (!r)
		r = singles(pt, REC_DATA);
	return r ? r : data_mixes(pt);
}

/* --- points ---------------------------------------------------------------------------
 */

static void sort_sides(struct point *pt)
{
	for (unsigned f = 0; f < REC_FILES; f++)
		pt->side[f] = (struct side){
			.index = must_alloc(pt->rp->nr_changes, sizeof(size_t))};
	for (size_t i = 0; i < pt->rp->nr_changes; i++) {
		struct side *side = &pt->side[pt->rp->changes[i].e->file];

		side->index[side->nr++] = i;
	}
}

static int at_point(struct images *im, const struct replay *rp)
{
	struct point pt = {.im = im, .rp = rp};
	int r;

	if (im->every && im->turn++ % im->every)
		return 0;
	pt.model = model_hash(&rp->model) ^ stamp_mix(rp->extra);
	if (rp->nr_changes > im->room) {
		im->room = rp->nr_changes;
		im->picks = must_grow(im->picks, im->room, sizeof(*im->picks));
	}
	im->counts->points++;
	sort_sides(&pt);
	r = metadata_families(&pt);
	if (!r)
		r = data_families(&pt);
	for (unsigned f = 0; f < REC_FILES; f++)
		free(pt.side[f].index);
	return r;
}

/* Does the model allow more from this mark on, or does it allow less? */
static bool weakens(const struct rec_mark *mark)
{
	switch (mark->kind) {
	case MARK_UPDATE:
	case MARK_CREATE:
	case MARK_SNAP:
	case MARK_DELETE:
	case MARK_RENAME:
	case MARK_ROLLBACK:
	case MARK_SIZE:
	case MARK_RESIZE:
	case MARK_BEGIN:
		return true;
	default:
		return false;
	}
}

/* Is it high time to look, before this happens? */
static bool decisive(const struct replay *rp, const struct rec_entry *e, bool completes)
{
	if (e->op == REC_MARK)
		return !completes && weakens(&e->mark);
	if (e->op == REC_SYNC || e->op == REC_SYNC_FOLDER)
		return completes;
	return e->op == REC_FLUSH && completes && rp->nr_changes;
}

int images_explore(struct images *im, struct replay *rp)
{
	const struct rec_entry *e;
	bool completes, news = true;
	int r = 0;

	im->image.fresh = false; /* whatever it was made from before */
	while (!r && (e = replay_next(rp, &completes))) {
		if (news && decisive(rp, e, completes)) {
			r = at_point(im, rp);
			news = false;
		}
		news |= (e->op == REC_MARK && !completes) ||
			(e->op == REC_FLUSH && completes) ||
			(rec_changes(e) && !completes) || e->file == REC_FOLDER;
		replay_step(rp);
		im->counts->events++;
	}
	return r ? r : at_point(im, rp);
}

void images_fini(struct images *im)
{
	image_fini(&im->image);
	free(im->picks);
}
