/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linearizability of registers whose writes all differ, after Gibbons and
 * Korach (1997).  The operations on one value are its cluster; between the
 * first end and the last start in it (its zone, if these come in this order)
 * the register must have had the value all the time.  So a history is right
 * if no read ends before its write starts, no two zones overlap, and nothing
 * else happened as a whole inside a zone.
 *
 * Zeros have no single write.  A read of zeros is right if some write of
 * zeros, or the beginning, was not certainly overwritten when it started; it
 * must not lie in another's zone either.
 */
#include "history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC UINT64_C(0x7468696e6c696e65)

static char report[300];

#define WRONG(...) (snprintf(report, sizeof(report), __VA_ARGS__), report)

void history_add(struct history *h, struct event e)
{
	if (h->nr == h->room) {
		h->room = h->room ? 2 * h->room : 1024;
		h->at = realloc(h->at, h->room * sizeof(*h->at));
		if (!h->at)
			abort();
	}
	h->at[h->nr++] = e;
}

void history_append(struct history *h, const struct history *more)
{
	for (size_t i = 0; i < more->nr; i++)
		history_add(h, more->at[i]);
}

void history_fini(struct history *h)
{
	free(h->at);
	*h = (struct history){0};
}

/* By sector, value; the write before its reads. */
static int compare(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->sector != y->sector)
		return x->sector < y->sector ? -1 : 1;
	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->start > y->start) - (x->start < y->start);
}

void history_sort(struct history *h)
{
	if (h->nr)
		qsort(h->at, h->nr, sizeof(*h->at), compare);
}

/* The events of one sector. */
struct slice {
	const struct event *at, *end;
};

static struct slice slice_of(const struct history *h, uint32_t sector)
{
	size_t low = 0, high = h->nr;
	struct slice s;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (h->at[mid].sector < sector)
			low = mid + 1;
		else
			high = mid;
	}
	s.at = s.end = h->at + low;
	while (s.end < h->at + h->nr && s.end->sector == sector)
		s.end++;
	return s;
}

static bool is_write(const struct event *e)
{
	return e->kind == EV_WRITE;
}

/*
 * When the zeros that were read up to @until were written at the latest; 0:
 * at the beginning.
 */
static uint64_t last_zeroing(struct slice s, uint64_t until)
{
	uint64_t last = 0;

	for (const struct event *e = s.at; e < s.end && !e->value; e++)
		if (is_write(e) && e->start <= until && e->end > last)
			last = e->end;
	return last;
}

/* A write that came as a whole between the two. */
static const struct event *write_between(struct slice s, uint64_t after, uint64_t before)
{
	for (const struct event *e = s.at; e < s.end; e++)
		if (is_write(e) && e->start > after && e->end < before)
			return e;
	return NULL;
}

/* --- linearizability ------------------------------------------------------- */

struct zone {
	uint64_t value, first_end, last_start;
	const struct event *begin, *end; /* the cluster */
};

static struct zone zone_of(const struct event *e, const struct event *end)
{
	struct zone z = {.value = e->value, .first_end = UNKNOWN, .begin = e};

	for (; e < end && e->value == z.value; e++) {
		if (e->end < z.first_end)
			z.first_end = e->end;
		if (e->start > z.last_start)
			z.last_start = e->start;
	}
	z.end = e;
	return z;
}

static const char *check_cluster(const struct zone *z)
{
	if (!is_write(z->begin))
		return WRONG("sector %u: %#" PRIx64 " was read and not written",
			     z->begin->sector, z->value);
	for (const struct event *e = z->begin + 1; e < z->end; e++) {
		if (is_write(e))
			return WRONG("sector %u: %#" PRIx64 " was written twice",
				     e->sector, z->value);
		if (e->end < z->begin->start)
			return WRONG("sector %u: %#" PRIx64 " was read before its write",
				     e->sector, z->value);
	}
	return NULL;
}

/* Nothing else may have happened inside of @z. */
static const char *check_inside(struct slice s, const struct zone *z)
{
	for (const struct event *e = s.at; e < s.end;) {
		struct zone other = zone_of(e, s.end);
		bool alone = !other.value; /* zeros: each by itself */
		uint64_t from = alone ? e->start : other.first_end;
		uint64_t to = alone ? e->end : other.last_start;

		if (from > to) {
			uint64_t swap = from;
			from = to;
			to = swap;
		} else if (!alone && other.value != z->value && from < z->last_start &&
			   z->first_end < to) {
			return WRONG("sector %u: %#" PRIx64 " and %#" PRIx64
				     " were there at the same time, about %" PRIu64,
				     e->sector, z->value, other.value, from);
		}
		if (other.value != z->value && from > z->first_end && to < z->last_start)
			return WRONG("sector %u: %#" PRIx64 " between %" PRIu64
				     " and %" PRIu64 ", while %#" PRIx64
				     " was there from %" PRIu64 " to %" PRIu64,
				     e->sector, other.value, from, to, z->value,
				     z->first_end, z->last_start);
		e = alone ? e + 1 : other.end;
	}
	return NULL;
}

static const char *check_zeros(struct slice s)
{
	for (const struct event *e = s.at; e < s.end && !e->value; e++) {
		const struct event *w;

		if (is_write(e))
			continue;
		w = write_between(s, last_zeroing(s, e->end), e->start);
		if (w && w->value)
			return WRONG("sector %u: zeros at %" PRIu64 ", but %#" PRIx64
				     " was written at %" PRIu64,
				     e->sector, e->start, w->value, w->end);
	}
	return NULL;
}

static const char *check_sector(struct slice s)
{
	const char *wrong = check_zeros(s);
	const struct event *e = s.at;

	while (e < s.end && !e->value)
		e++;
	while (e < s.end && !wrong) {
		struct zone z = zone_of(e, s.end);

		wrong = check_cluster(&z);
		if (!wrong && z.first_end < z.last_start)
			wrong = check_inside(s, &z);
		e = z.end;
	}
	return wrong;
}

/* Who was seen had happened: a write is over when its first reader is. */
static void tighten(struct history *h)
{
	for (size_t i = 0; i < h->nr;) {
		struct event *e = &h->at[i++];

		for (; i < h->nr && h->at[i].sector == e->sector &&
		       h->at[i].value == e->value && e->value;
		     i++)
			if (h->at[i].end < e->end)
				e->end = h->at[i].end;
	}
}

const char *history_check(struct history *h)
{
	const char *wrong = NULL;

	tighten(h);
	for (size_t i = 0; i < h->nr && !wrong;) {
		struct slice s = slice_of(h, h->at[i].sector);

		wrong = check_sector(s);
		i = (size_t)(s.end - h->at);
	}
	return wrong;
}

static bool meet(const struct event *a, const struct event *b)
{
	return a->start < b->end && b->start < a->end;
}

const char *history_check_torn(const struct history *h, const struct history *torn)
{
	for (size_t i = 0; i < torn->nr; i++) {
		const struct event *e = &torn->at[i];
		struct slice s = slice_of(h, e->sector);

		while (s.at < s.end && !(is_write(s.at) && meet(s.at, e)))
			s.at++;
		if (s.at == s.end)
			return WRONG("sector %u: a mixture at %" PRIu64
				     ", when nobody was writing",
				     e->sector, e->start);
	}
	return NULL;
}

/* --- states ------------------------------------------------------------------ */

/*
 * When @value was written at the latest, as far as what was issued up to
 * @until goes; false: never.
 */
static bool written_at(struct slice s, uint64_t value, uint64_t until, uint64_t *ret)
{
	if (!value) {
		*ret = last_zeroing(s, until);
		return true;
	}
	for (const struct event *e = s.at; e < s.end; e++)
		if (is_write(e) && e->value == value && e->start <= until) {
			*ret = e->end;
			return true;
		}
	return false;
}

const char *history_check_crash(const struct history *h, const uint64_t *values,
				uint32_t nr, uint64_t flushed)
{
	for (uint32_t i = 0; i < nr; i++) {
		struct slice s = slice_of(h, i);
		const struct event *w;
		uint64_t at;

		if (!written_at(s, values[i], UNKNOWN, &at))
			return WRONG("sector %u: %#" PRIx64 " was never written", i,
				     values[i]);
		w = write_between(s, at, flushed);
		if (w)
			return WRONG("sector %u: %#" PRIx64 " of %" PRIu64
				     ", but %#" PRIx64 " was written at %" PRIu64
				     " and flushed",
				     i, values[i], at, w->value, w->end);
	}
	return NULL;
}

/* Where one sector of a request is seen, the others are no older. */
static const char *check_whole(const struct history *h, const uint64_t *values,
			       uint32_t nr, uint32_t i, const struct request *q,
			       uint64_t until)
{
	for (uint32_t j = q->sector; j < q->sector + q->nr && j < nr; j++) {
		uint64_t at;

		if (values[j] == values[i])
			continue;
		if (written_at(slice_of(h, j), values[j], until, &at) && at < q->start)
			return WRONG("half a request: sector %u is of %#" PRIx64
				     ", sector %u of %#" PRIx64 " before it",
				     i, values[i], j, values[j]);
	}
	return NULL;
}

const char *history_check_instant(const struct history *h, const uint64_t *values,
				  uint32_t nr, uint64_t start, uint64_t end,
				  const struct request *(*request_of)(uint64_t value))
{
	uint64_t not_before = start, not_after = end;
	uint32_t low = 0, high = 0;
	const char *wrong = NULL;

	for (uint32_t i = 0; i < nr && !wrong; i++) {
		struct slice s = slice_of(h, i);
		const struct event *w;
		uint64_t at;

		if (!written_at(s, values[i], end, &at))
			return WRONG("sector %u: %#" PRIx64 " was not written by then", i,
				     values[i]);
		/* What came later for certain was not there yet. */
		while ((w = write_between(s, at, not_after))) {
			not_after = w->end;
			high = i;
		}
		if (!values[i])
			continue;
		const struct request *q = request_of(values[i]);
		if (q->start > not_before) {
			not_before = q->start;
			low = i;
		}
		wrong = check_whole(h, values, nr, i, q, end);
	}
	if (!wrong && not_before > not_after)
		wrong = WRONG("no instant: sector %u is of %" PRIu64
			      " or later, sector %u of %" PRIu64 " or earlier",
			      low, not_before, high, not_after);
	return wrong;
}

/* --- the checks' check --------------------------------------------------------- */

static const char *verdict(const struct event *e, size_t nr)
{
	struct history h = {0};
	const char *wrong;

	for (size_t i = 0; i < nr; i++)
		history_add(&h, e[i]);
	history_sort(&h);
	wrong = history_check(&h);
	history_fini(&h);
	return wrong;
}

#define RIGHT(...)                                                                       \
	do {                                                                             \
		const struct event e_[] = {__VA_ARGS__};                                 \
		const char *w_ = verdict(e_, sizeof(e_) / sizeof(e_[0]));                \
		if (w_)                                                                  \
			return w_;                                                       \
	} while (0)

#define NOT_RIGHT(...)                                                                   \
	do {                                                                             \
		const struct event e_[] = {__VA_ARGS__};                                 \
		if (!verdict(e_, sizeof(e_) / sizeof(e_[0])))                            \
			return WRONG("line %d: not noticed", __LINE__);                  \
	} while (0)

#define W(v, s, e)                                                                       \
	{                                                                                \
		.value = (v), .start = (s), .end = (e), .kind = EV_WRITE                 \
	}
#define R(v, s, e)                                                                       \
	{                                                                                \
		.value = (v), .start = (s), .end = (e), .kind = EV_READ                  \
	}

static const struct request two_sectors = {.start = 10, .end = 20, .sector = 0, .nr = 2};

static const struct request *the_request(uint64_t value)
{
	(void)value;
	return &two_sectors;
}

static const char *check_states(void)
{
	struct event e[] = {W(7, 10, 20), W(7, 10, 20), W(8, 30, 40)};
	struct history h = {0};
	const char *bad = NULL;

	e[1].sector = 1;
	for (size_t i = 0; i < 3; i++)
		history_add(&h, e[i]);
	history_sort(&h);
	if (history_check_crash(&h, (uint64_t[]){8, 7}, 2, 50) ||
	    history_check_crash(&h, (uint64_t[]){7, 7}, 2, 39))
		bad = WRONG("a good crash");
	else if (!history_check_crash(&h, (uint64_t[]){7, 7}, 2, 50) ||
		 !history_check_crash(&h, (uint64_t[]){8, 0}, 2, 50) ||
		 !history_check_crash(&h, (uint64_t[]){8, 9}, 2, 50))
		bad = WRONG("a bad crash was not noticed");
	else if (history_check_instant(&h, (uint64_t[]){7, 7}, 2, 22, 35, the_request))
		bad = WRONG("a good instant");
	else if (!history_check_instant(&h, (uint64_t[]){7, 0}, 2, 15, 16, the_request))
		bad = WRONG("half a request was not noticed");
	else if (!history_check_instant(&h, (uint64_t[]){7, 7}, 2, 45, 50, the_request))
		bad = WRONG("an early instant was not noticed");
	history_fini(&h);
	return bad;
}

const char *history_check_checks(void)
{
	RIGHT(W(1, 1, 2), R(1, 3, 4), W(2, 5, 6), R(2, 7, 8));
	RIGHT(R(0, 1, 2), W(1, 1, 9), R(1, 3, 4), R(1, 5, 6), R(0, 1, 7));
	RIGHT(W(1, 1, 10), W(2, 1, 10), R(1, 2, 3), R(2, 4, 5));
	RIGHT(W(1, 1, 2), W(0, 3, 9), R(1, 4, 5), R(0, 6, 7));
	NOT_RIGHT(W(1, 1, 2), W(2, 3, 4), R(1, 5, 6)); /* stale */
	NOT_RIGHT(W(1, 5, 6), R(1, 2, 3));	       /* of the future */
	NOT_RIGHT(R(1, 2, 3));			       /* of nobody */
	NOT_RIGHT(W(1, 1, 9), R(1, 2, 3), R(0, 4, 5)); /* back to zeros */
	NOT_RIGHT(W(1, 1, 2), R(0, 3, 4));	       /* lost */
	NOT_RIGHT(W(1, 1, 2), W(0, 3, 4), R(1, 5, 6)); /* zeros lost */
	NOT_RIGHT(W(1, 1, 9), W(2, 1, 9), R(1, 2, 3), R(2, 4, 5), R(1, 6, 7));
	return check_states();
}

/* --- sectors ------------------------------------------------------------- */

struct stamp {
	uint64_t magic, value, sector, sum;
};

#define STAMPS (SECTOR / sizeof(struct stamp))

static uint64_t mix(uint64_t value, uint32_t sector)
{
	uint64_t z = (value ^ (uint64_t)sector << 40) * UINT64_C(0x9e3779b97f4a7c15);

	return z ^ z >> 29;
}

void sector_stamp(uint8_t *p, uint64_t value, uint32_t sector)
{
	const struct stamp s = {MAGIC, value, sector, mix(value, sector)};

	for (size_t i = 0; i < STAMPS; i++)
		memcpy(p + i * sizeof(s), &s, sizeof(s));
}

bool sector_value(const uint8_t *p, uint32_t sector, uint64_t *ret_value)
{
	struct stamp s;

	/* All alike: each part is as the one before. */
	if (memcmp(p, p + sizeof(s), SECTOR - sizeof(s)) != 0)
		return false;
	memcpy(&s, p, sizeof(s));
	*ret_value = s.value;
	if (!s.magic && !s.value && !s.sector && !s.sum)
		return true;
	return s.magic == MAGIC && s.value && s.sector == sector &&
	       s.sum == mix(s.value, sector);
}
