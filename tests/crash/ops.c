/* SPDX-License-Identifier: BSD-3-Clause */
#include "ops.h"

#include "util/checked.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* Which numbers an operation takes: volume, other, first, nr. */
static const char *takes(char kind)
{
	switch (kind) {
	case 'w':
	case 'W':
	case 't':
	case 'T':
	case 'z':
	case 'Z':
		return "vfn";
	case 'f':
	case 'F':
	case 'c':
	case 'C':
	case 'd':
	case 'b':
	case 'a':
		return "v";
	case 's':
	case 'n':
	case 'y':
	case 'q':
		return "vo";
	case 'g':
	case 'm':
	case 'x':
		return "n";
	case 'k':
	case 'h':
	case 'u':
	case 'o':
		return "";
	default:
		return NULL;
	}
}

void ops_add(struct ops *ops, struct op op)
{
	if (ops->nr == ops->room) {
		ops->room = ops->room ? 2 * ops->room : 16;
		ops->op = must_grow(ops->op, ops->room, sizeof(*ops->op));
	}
	ops->op[ops->nr++] = op;
}

void ops_fini(struct ops *ops)
{
	free(ops->op);
	*ops = (struct ops){0};
}

void ops_copy(struct ops *to, const struct ops *from)
{
	*to = (struct ops){0};
	for (size_t i = 0; i < from->nr; i++)
		ops_add(to, from->op[i]);
}

/* --- text ------------------------------------------------------------------- */

const char *op_describe(const struct op *op)
{
	static char text[100];
	size_t len = (size_t)snprintf(text, sizeof(text), "%c", op->kind);
	const char *t = takes(op->kind);

	for (; t && *t; t++) {
		uint64_t n = *t == 'v'	 ? op->volume
			     : *t == 'o' ? op->other
			     : *t == 'f' ? op->first
					 : op->nr;

		len += (size_t)snprintf(text + len, sizeof(text) - len, " %" PRIu64, n);
	}
	return text;
}

static bool parse_number(const char **p, uint64_t *ret)
{
	char *end;

	*ret = strtoull(*p, &end, 10);
	if (end == *p)
		return false;
	*p = end;
	return true;
}

static bool parse_one(const char **p, struct op *ret)
{
	const char *t;
	uint64_t n;

	*ret = (struct op){.kind = *(*p)++};
	for (t = takes(ret->kind); t && *t; t++) {
		if (!parse_number(p, &n))
			return false;
		if (*t == 'v')
			ret->volume = (uint32_t)n;
		else if (*t == 'o')
			ret->other = (uint32_t)n;
		else if (*t == 'f')
			ret->first = n;
		else
			ret->nr = n;
	}
	return t && ret->volume < MODEL_VOLUMES && ret->other < MODEL_VOLUMES;
}

bool ops_parse(struct ops *ret, const char *text, const char **ret_bad)
{
	*ret = (struct ops){0};
	for (;;) {
		const char *begin;
		struct op op;

		while (isspace((unsigned char)*text) || *text == ';')
			text++;
		while (*text == '#')
			text += strcspn(text, "\n");
		if (!*text)
			return true;
		if (isspace((unsigned char)*text))
			continue;
		begin = text;
		if (!parse_one(&text, &op)) {
			*ret_bad = begin;
			return false;
		}
		ops_add(ret, op);
	}
}

char *ops_print(const struct ops *ops)
{
	char *text = must_alloc(ops->nr + 1, 48);
	size_t len = 0;

	for (size_t i = 0; i < ops->nr; i++)
		len += (size_t)sprintf(text + len, "%s%s", i ? "; " : "",
				       op_describe(&ops->op[i]));
	return text;
}

/* --- by chance ----------------------------------------------------------------- */

static bool is_there(const struct model *now, uint32_t volume)
{
	return now->volume[volume].exists == MODEL_YES;
}

/* The first from a random one on that is there, or is not; -1 for none. */
static int choose(struct seeded *rnd, const struct model *now, bool there)
{
	uint32_t from = (uint32_t)seeded_below(rnd, MODEL_VOLUMES);

	for (uint32_t i = 0; i < MODEL_VOLUMES; i++)
		if (is_there(now, (from + i) % MODEL_VOLUMES) == there)
			return (int)((from + i) % MODEL_VOLUMES);
	return -1;
}

static unsigned how_many(const struct model *now)
{
	unsigned nr = 0;

	for (uint32_t i = 0; i < MODEL_VOLUMES; i++)
		nr += is_there(now, i);
	return nr;
}

/* Mostly small, and at the borders of blocks as often as inside. */
static void choose_range(struct seeded *rnd, struct op *op, uint64_t nr_sectors,
			 uint64_t bs)
{
	uint64_t most = seeded_below(rnd, 8) ? 2 * bs : nr_sectors;

	op->first = seeded_below(rnd, nr_sectors);
	op->nr = 1 + seeded_below(rnd, most);
	if (seeded_below(rnd, 2)) {
		op->first -= op->first % bs;
		op->nr = thin_div_up(op->nr, bs) * bs;
	}
	op->nr = thin_min(op->nr, nr_sectors - op->first);
}

static struct op random_control(struct seeded *rnd, const struct model *now)
{
	int there = choose(rnd, now, true), none = choose(rnd, now, false);
	uint64_t dice = seeded_below(rnd, 20);

	if (dice < 9 && there >= 0 && none >= 0 && how_many(now) < 7)
		return (struct op){
			.kind = 's', .volume = (uint32_t)there, .other = (uint32_t)none};
	if (dice < 14 && there >= 0 && how_many(now) > 1)
		return (struct op){.kind = 'd', .volume = (uint32_t)there};
	if (dice < 15 && none >= 0)
		return (struct op){.kind = 'c', .volume = (uint32_t)none};
	if (dice < 16)
		return (struct op){.kind = 'g', .nr = 1 + seeded_below(rnd, 4)};
	if (dice < 17)
		return (struct op){.kind = 'm', .nr = 1 + seeded_below(rnd, 4)};
	if (dice < 18)
		return (struct op){.kind = seeded_below(rnd, 2) ? 'h' : 'u'};
	if (dice < 19)
		return (struct op){.kind = 'x', .nr = seeded_below(rnd, 30)};
	return (struct op){.kind = 'o'};
}

struct op op_random(struct seeded *rnd, const struct model *now, uint64_t bs)
{
	static const char kinds[] = "wwwwwwwwwwwWWWtttTzzZZffffk";
	int there = choose(rnd, now, true);
	struct op op;

	if (there < 0)
		return (struct op){.kind = 'c'};
	if (seeded_below(rnd, 8) == 0)
		return random_control(rnd, now);
	if (seeded_below(rnd, 60) == 0)
		return (struct op){.kind = 'b', .volume = (uint32_t)there};
	op = (struct op){.kind = kinds[seeded_below(rnd, sizeof(kinds) - 1)],
			 .volume = (uint32_t)there};
	if (takes(op.kind)[0] && takes(op.kind)[1])
		choose_range(rnd, &op, now->volume[there].nr_sectors, bs);
	return op;
}

/* --- all of them ------------------------------------------------------------------- */

/* The last volume that there is, or the first number that is not taken. */
static uint32_t last(const struct model *now)
{
	uint32_t i = MODEL_VOLUMES - 1;

	while (i && !is_there(now, i))
		i--;
	return i;
}

/*
 * On volume 0, whose blocks have 8 sectors: ranges that overlap, cover
 * blocks in part and as a whole, and cross their borders.
 */
struct op op_choice(unsigned i, const struct model *now)
{
	uint32_t volume = last(now);

	switch (i) {
	case 0:
		return (struct op){.kind = 'w', .first = 3, .nr = 2};
	case 1:
		return (struct op){.kind = 'w', .first = 12, .nr = 16};
	case 2:
		return (struct op){.kind = 'W', .first = 8, .nr = 8};
	case 3:
		return (struct op){.kind = 'f'};
	case 4:
		return (struct op){.kind = 't', .first = 4, .nr = 24};
	case 5:
		return (struct op){.kind = 'Z', .first = 10, .nr = 20};
	case 6:
		return (struct op){.kind = volume + 1 < MODEL_VOLUMES ? 's' : 0,
				   .other = volume + 1};
	case 7:
		return (struct op){.kind = volume ? 'd' : 0, .volume = volume};
	default:
		return (struct op){.kind = 'g', .nr = 2};
	}
}
