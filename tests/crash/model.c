/* SPDX-License-Identifier: BSD-3-Clause */
#include "model.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- sectors ---------------------------------------------------------------- */

static void append(struct model_sector *s, struct model_update u)
{
	if (s->nr == s->room) {
		s->room = s->room ? (uint16_t)(2 * s->room) : 2;
		s->updates = must_grow(s->updates, s->room, sizeof(*s->updates));
	}
	s->updates[s->nr++] = u;
}

/* E2. */
static bool ended(const struct model_sector *s, const struct model_update *u)
{
	for (uint16_t i = 0; i < s->nr; i++) {
		const struct model_update *by = &s->updates[i];

		if (by->covered && by != u && u->answered && u->answered < by->issued)
			return true;
	}
	return false;
}

static void drop_ended(struct model_sector *s)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < s->nr; i++) {
		/* Moving the survivors down changes none that is still to be asked. */
		if (!ended(s, &s->updates[i]))
			s->updates[kept++] = s->updates[i];
	}
	s->nr = kept;
	assert(kept);
}

static struct model_update *find(struct model_sector *s, uint32_t request)
{
	for (uint16_t i = s->nr; i-- > 0;)
		if (s->updates[i].request == request && !s->updates[i].answered)
			return &s->updates[i];
	return NULL;
}

static struct model_update settled(uint32_t value)
{
	return (struct model_update){
		.value = value, .answered = 1, .sure = true, .covered = true};
}

/* --- volumes ----------------------------------------------------------------- */

static void free_sectors(struct model_volume *v)
{
	for (uint64_t s = 0; s < v->room; s++)
		free(v->sectors[s].updates);
	free(v->sectors);
	v->sectors = NULL;
	v->room = v->nr_sectors = 0;
}

static void set_size(struct model_volume *v, uint64_t nr)
{
	if (nr > v->room) {
		v->sectors = must_grow(v->sectors, nr, sizeof(*v->sectors));
		memset(v->sectors + v->room, 0, (nr - v->room) * sizeof(*v->sectors));
		v->room = nr;
	}
	for (uint64_t s = v->nr_sectors; s < nr; s++) {
		v->sectors[s].nr = 0;
		append(&v->sectors[s], settled(MODEL_BELOW));
	}
	v->nr_sectors = nr;
	v->size[0] = v->size[1] = nr;
}

static struct model_volume *volume_of(struct model *m, uint32_t volume)
{
	assert(volume < MODEL_VOLUMES);
	return &m->volume[volume];
}

static void start_anew(struct model_volume *v, uint64_t nr_sectors,
		       uint64_t origin_sectors)
{
	free_sectors(v);
	v->renaming = false;
	v->group = 0;
	v->known = true;
	v->origin_sectors = origin_sectors;
	set_size(v, nr_sectors);
}

void model_add(struct model *m, uint32_t volume, uint64_t nr_sectors,
	       uint64_t origin_sectors)
{
	struct model_volume *v = volume_of(m, volume);

	start_anew(v, nr_sectors, origin_sectors);
	v->exists = MODEL_YES;
}

void model_set(struct model *m, uint32_t volume, uint64_t sector, uint32_t value)
{
	struct model_sector *s = &volume_of(m, volume)->sectors[sector];

	s->nr = 0;
	append(s, settled(value));
}

void model_settle(struct model *m, uint32_t volume, bool exists)
{
	struct model_volume *v = volume_of(m, volume);

	v->exists = exists ? MODEL_YES : MODEL_NO;
	v->known = exists;
}

/* --- updates ------------------------------------------------------------------- */

static void update(struct model *m, const struct rec_mark *mark, uint64_t stamp)
{
	struct model_update u = {
		.request = mark->request, .value = mark->value, .issued = stamp};
	struct model_volume *v = volume_of(m, mark->volume);

	assert(mark->first + mark->nr <= v->nr_sectors);
	for (uint64_t s = mark->first; s < mark->first + mark->nr; s++) {
		append(&v->sectors[s], u);
		/* E3: a snapshot that is just being made may get it or not. */
		for (unsigned i = 0; i < MODEL_VOLUMES; i++)
			if (m->volume[i].exists == MODEL_COMING && m->volume[i].known &&
			    m->volume[i].source == mark->volume)
				append(&m->volume[i].sectors[s], u);
	}
}

static void updated(struct model *m, const struct rec_mark *mark, uint64_t stamp)
{
	struct model_volume *v = volume_of(m, mark->volume);

	for (uint64_t s = mark->first; s < mark->first + mark->nr; s++) {
		struct model_update *u = find(&v->sectors[s], mark->request);

		assert(u);
		u->answered = stamp;
		u->sure = !mark->result;
		u->covered = u->sure && mark->kind == MARK_FUA;
		if (u->covered)
			drop_ended(&v->sectors[s]);
	}
}

static void flush(struct model *m, const struct rec_mark *mark, uint64_t stamp)
{
	assert(m->nr_flushes < sizeof(m->flush) / sizeof(m->flush[0]));
	m->flush[m->nr_flushes++] = (struct model_flush){mark->request, stamp};
}

/* E1. */
static void cover(struct model_volume *v, uint64_t issued)
{
	for (uint64_t s = 0; s < v->nr_sectors; s++) {
		struct model_sector *sector = &v->sectors[s];
		bool any = false;

		for (uint16_t i = 0; i < sector->nr; i++) {
			struct model_update *u = &sector->updates[i];

			if (!u->sure || u->covered || u->answered > issued)
				continue;
			any = u->covered = true;
		}
		if (any)
			drop_ended(sector);
	}
}

static void flushed(struct model *m, const struct rec_mark *mark)
{
	unsigned i = 0;

	while (i < m->nr_flushes && m->flush[i].request != mark->request)
		i++;
	assert(i < m->nr_flushes);
	if (!mark->result)
		cover(volume_of(m, mark->volume), m->flush[i].issued);
	m->flush[i] = m->flush[--m->nr_flushes];
}

/* --- control --------------------------------------------------------------------- */

/* Has @u been overtaken by what was answered before now, durable or not? */
static bool overtaken(const struct model_sector *s, const struct model_update *u)
{
	for (uint16_t i = 0; i < s->nr; i++) {
		const struct model_update *by = &s->updates[i];

		if (by->sure && by != u && u->answered && u->answered < by->issued)
			return true;
	}
	return false;
}

static void copy_newest(struct model_sector *to, const struct model_sector *from)
{
	to->nr = 0;
	for (uint16_t i = 0; i < from->nr; i++) {
		struct model_update u = from->updates[i];

		if (overtaken(from, &from->updates[i]))
			continue;
		u.answered = 0;
		u.sure = u.covered = false;
		append(to, u);
	}
}

static void snap(struct model *m, const struct rec_mark *mark)
{
	struct model_volume *v = volume_of(m, mark->volume);
	const struct model_volume *source = volume_of(m, mark->other);

	start_anew(v, source->nr_sectors, source->origin_sectors);
	v->exists = MODEL_COMING;
	v->source = mark->other;
	v->group = mark->value;
	for (uint64_t s = 0; s < v->nr_sectors; s++)
		copy_newest(&v->sectors[s], &source->sectors[s]);
}

/* From now on its own updates come after what it began with. */
static void snapped(struct model *m, const struct rec_mark *mark, uint64_t stamp)
{
	struct model_volume *v = volume_of(m, mark->volume);

	model_settle(m, mark->volume, !mark->result);
	for (uint64_t s = 0; s < v->nr_sectors; s++)
		for (uint16_t i = 0; i < v->sectors[s].nr; i++)
			v->sectors[s].updates[i].answered = stamp;
}

static void create(struct model *m, const struct rec_mark *mark)
{
	struct model_volume *v = volume_of(m, mark->volume);

	start_anew(v, mark->nr, mark->first);
	v->exists = MODEL_COMING;
	v->source = UINT32_MAX;
}

static void copy_all(struct model_sector *to, const struct model_sector *from)
{
	to->nr = 0;
	for (uint16_t i = 0; i < from->nr; i++)
		append(to, from->updates[i]);
}

static void rename_to(struct model *m, const struct rec_mark *mark)
{
	struct model_volume *from = volume_of(m, mark->volume);
	struct model_volume *to = volume_of(m, mark->other);

	start_anew(to, from->nr_sectors, from->origin_sectors);
	for (uint64_t s = 0; s < to->nr_sectors; s++)
		copy_all(&to->sectors[s], &from->sectors[s]);
	to->exists = MODEL_COMING;
	to->source = mark->volume;
	to->renaming = true;
	from->exists = MODEL_GOING;
}

static void renamed(struct model *m, const struct rec_mark *mark)
{
	volume_of(m, mark->other)->renaming = false;
	model_settle(m, mark->other, !mark->result);
	model_settle(m, mark->volume, mark->result);
}

static void roll_back(struct model *m, const struct rec_mark *mark)
{
	struct model_volume *v = volume_of(m, mark->volume);
	const struct model_volume *source = volume_of(m, mark->other);

	assert(v->nr_sectors == source->nr_sectors);
	for (uint64_t s = 0; s < v->nr_sectors; s++) {
		struct model_sector newest = {0};

		copy_newest(&newest, &source->sectors[s]);
		for (uint16_t i = 0; i < newest.nr; i++)
			append(&v->sectors[s], newest.updates[i]);
		free(newest.updates);
	}
}

static void rolled(struct model *m, const struct rec_mark *mark, uint64_t stamp)
{
	struct model_volume *v = volume_of(m, mark->volume);
	const struct model_volume *source = volume_of(m, mark->other);

	for (uint64_t s = 0; s < v->nr_sectors && !mark->result; s++) {
		copy_newest(&v->sectors[s], &source->sectors[s]);
		for (uint16_t i = 0; i < v->sectors[s].nr; i++)
			v->sectors[s].updates[i].answered = stamp;
	}
}

static void resize(struct model *m, const struct rec_mark *mark)
{
	struct model_volume *v = volume_of(m, mark->volume);
	uint64_t old = v->nr_sectors;

	if (mark->nr > old)
		set_size(v, mark->nr);
	v->size[0] = old;
	v->size[1] = mark->nr;
}

static void resized(struct model *m, const struct rec_mark *mark)
{
	struct model_volume *v = volume_of(m, mark->volume);

	set_size(v, mark->result ? v->size[0] : mark->nr);
}

static void deleted(struct model *m, const struct rec_mark *mark)
{
	if (!mark->result)
		model_settle(m, mark->volume, false);
}

/* E5. */
static void restart(struct model *m, uint64_t stamp)
{
	m->nr_flushes = 0;
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *v = &m->volume[i];

		for (uint64_t s = 0; s < v->nr_sectors; s++) {
			for (uint16_t n = 0; n < v->sectors[s].nr; n++) {
				struct model_update *u = &v->sectors[s].updates[n];

				if (u->covered)
					continue;
				u->sure = false;
				u->answered = u->answered ? u->answered : stamp;
			}
		}
	}
}

/* A deletion that got half-way has taken some of its blocks. */
static void found(struct model *m, const struct rec_mark *mark, uint64_t stamp)
{
	struct model_volume *v = volume_of(m, mark->volume);

	for (uint64_t s = 0; s < v->nr_sectors && v->exists == MODEL_GOING; s++)
		append(&v->sectors[s],
		       (struct model_update){.value = MODEL_BELOW, .answered = stamp});
	model_settle(m, mark->volume, !mark->result);
}

void model_apply(struct model *m, const struct rec_mark *mark, uint64_t stamp)
{
	switch ((enum model_mark)mark->kind) {
	case MARK_UPDATE:
		update(m, mark, stamp);
		break;
	case MARK_UPDATED:
	case MARK_FUA:
		updated(m, mark, stamp);
		break;
	case MARK_FLUSH:
		flush(m, mark, stamp);
		break;
	case MARK_FLUSHED:
		flushed(m, mark);
		break;
	case MARK_CREATE:
		create(m, mark);
		break;
	case MARK_CREATED:
		model_settle(m, mark->volume, !mark->result);
		break;
	case MARK_SNAP:
		snap(m, mark);
		break;
	case MARK_SNAPPED:
		snapped(m, mark, stamp);
		break;
	case MARK_DELETE:
		volume_of(m, mark->volume)->exists = MODEL_GOING;
		break;
	case MARK_DELETED:
		deleted(m, mark);
		break;
	case MARK_RESIZE:
		set_size(volume_of(m, mark->volume), mark->nr);
		break;
	case MARK_RENAME:
		rename_to(m, mark);
		break;
	case MARK_RENAMED:
		renamed(m, mark);
		break;
	case MARK_ROLLBACK:
		roll_back(m, mark);
		break;
	case MARK_ROLLED:
		rolled(m, mark, stamp);
		break;
	case MARK_SIZE:
		resize(m, mark);
		break;
	case MARK_SIZED:
		resized(m, mark);
		break;
	case MARK_RESTART:
		restart(m, stamp);
		break;
	case MARK_FOUND:
		found(m, mark, stamp);
		break;
	case MARK_BEGIN:
		m->begun = mark->request;
		break;
	case MARK_DONE:
		m->done = mark->request;
		break;
	}
}

/* --- questions --------------------------------------------------------------------- */

uint32_t model_below(const struct model *m, uint32_t volume, uint64_t sector)
{
	return sector < m->volume[volume].origin_sectors ? STAMP_ORIGIN : STAMP_ZERO;
}

/* @value was read: is it what @u says? */
static bool is(const struct model *m, uint32_t volume, uint64_t sector,
	       const struct model_update *u, uint32_t value)
{
	if (u->value == MODEL_BELOW)
		return value == model_below(m, volume, sector);
	return u->value == value;
}

bool model_may(const struct model *m, uint32_t volume, uint64_t sector, uint32_t value)
{
	const struct model_volume *v = &m->volume[volume];
	const struct model_sector *s = &v->sectors[sector];

	for (uint16_t i = 0; i < s->nr; i++)
		if (is(m, volume, sector, &s->updates[i], value))
			return true;
	return v->exists == MODEL_GOING && value == model_below(m, volume, sector);
}

bool model_now(const struct model *m, uint32_t volume, uint64_t sector, uint32_t value)
{
	const struct model_sector *s = &m->volume[volume].sectors[sector];

	for (uint16_t i = 0; i < s->nr; i++)
		if (is(m, volume, sector, &s->updates[i], value) &&
		    !overtaken(s, &s->updates[i]))
			return true;
	return false;
}

const char *model_describe(const struct model *m, uint32_t volume, uint64_t sector)
{
	static char text[200];
	const struct model_sector *s = &m->volume[volume].sectors[sector];
	size_t len = 0;

	text[0] = 0;
	for (uint16_t i = 0; i < s->nr && len < sizeof(text) - 20; i++) {
		uint32_t value = s->updates[i].value;

		if (value == MODEL_BELOW)
			value = model_below(m, volume, sector);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%" PRIu32,
					i ? " | " : "", value);
	}
	return text;
}

static uint64_t hash_volume(const struct model_volume *v, uint64_t h)
{
	h = stamp_mix(h + v->exists);
	for (uint64_t s = 0; s < v->nr_sectors && v->known; s++)
		for (uint16_t i = 0; i < v->sectors[s].nr; i++)
			h = stamp_mix(h ^ (s << 40 | (uint64_t)i << 32 |
					   v->sectors[s].updates[i].value));
	return stamp_mix(stamp_mix(h + v->size[0]) + v->size[1]);
}

uint64_t model_hash(const struct model *m)
{
	uint64_t h = stamp_mix((uint64_t)m->begun << 32 | m->done);

	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		h = hash_volume(&m->volume[i], h);
	return h;
}

/* --- the whole ------------------------------------------------------------------------
 */

void model_init(struct model *m)
{
	*m = (struct model){0};
}

void model_fini(struct model *m)
{
	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		free_sectors(&m->volume[i]);
}

static void copy_volume(struct model_volume *to, const struct model_volume *from)
{
	*to = *from;
	to->sectors = must_alloc(from->room, sizeof(*to->sectors));
	for (uint64_t s = 0; s < from->nr_sectors; s++)
		for (uint16_t i = 0; i < from->sectors[s].nr; i++)
			append(&to->sectors[s], from->sectors[s].updates[i]);
}

void model_copy(struct model *to, const struct model *from)
{
	*to = *from;
	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		copy_volume(&to->volume[i], &from->volume[i]);
}
