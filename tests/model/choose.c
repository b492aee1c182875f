/* SPDX-License-Identifier: BSD-3-Clause */

#include "choose.h"

/*
 * All that is chosen is chosen by below(): by random numbers, or by a
 * fuzzer's bytes.  What stands here and in which order it asks is what a seed
 * and the corpus mean; a change gives them another meaning.
 *
 * 1. A choice depends on earlier ones, and on which volumes there are in the
 *    model and how large: never on what the pool answered, nor on threads.
 */

/* As many bytes as @n needs; zeros when they are used up. */
static uint64_t next_bytes(struct world *w, uint64_t n)
{
	uint64_t v = 0;

	for (uint64_t room = 1; room < n && w->at < w->end; room <<= 8)
		v = v << 8 | *w->at++;
	return v;
}

uint64_t below(struct world *w, uint64_t n)
{
	return w->at ? next_bytes(w, n) % n : seeded_below(&w->rng, n);
}

bool chance(struct world *w, unsigned percent)
{
	return below(w, 100) < percent;
}

int any_volume(struct world *w)
{
	int first = (int)below(w, MODEL_VOLUMES);

	for (int i = 0; i < MODEL_VOLUMES; i++) {
		int v = (first + i) % MODEL_VOLUMES;

		if (w->m.volume[v].exists)
			return v;
	}
	return MODEL_NONE;
}

int any_slot(struct world *w)
{
	int first = (int)below(w, MODEL_VOLUMES);

	for (int i = 0; i < MODEL_VOLUMES; i++)
		if (!w->m.volume[(first + i) % MODEL_VOLUMES].exists)
			return (first + i) % MODEL_VOLUMES;
	return MODEL_NONE;
}

int any_origin(struct world *w)
{
	return chance(w, 40) ? MODEL_NONE : (int)below(w, MODEL_ORIGINS);
}

uint64_t any_size(struct world *w)
{
	uint64_t size = 1 + below(w, w->max_bytes);

	switch (below(w, 4)) {
	case 0:
	case 1:
		size = (size / w->m.block_size + 1) * w->m.block_size;
		break;
	case 2:
		size = (size / 512 + 1) * 512;
		break;
	default:
		break;
	}
	return lesser(size, w->max_bytes);
}

struct range any_range(struct world *w, int v)
{
	uint64_t size = w->m.volume[v].size, bs = w->m.block_size;
	uint64_t begin = below(w, size), len;

	switch (below(w, 8)) {
	case 0:
	case 1:
		len = 1 + below(w, bs - begin % bs);
		break;
	case 2:
	case 3:
		begin -= begin % bs;
		len = bs * (1 + below(w, 4));
		break;
	case 4:
		begin -= begin % 512;
		len = 512 * (1 + below(w, 2 * bs / 512));
		break;
	case 5:
		len = size - begin;
		break;
	case 6:
		len = 1 + below(w, 4 * bs);
		break;
	default:
		if (!below(w, 4))
			begin = 0;
		len = 1 + below(w, size - begin);
		break;
	}
	return (struct range){begin, begin + lesser(len, size - begin)};
}
