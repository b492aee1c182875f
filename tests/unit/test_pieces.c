/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "pool/request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Blocks of 1000 bytes, a volume of 9500: block 9 is short.  The origin, if
 * there is one, has 3500: it has bytes in block 3, but not in all of it.
 */
#define BLOCK  1000u
#define SIZE   9500u
#define ORIGIN 3500u

static struct thin_pool pool = {.block_size = BLOCK};
static struct thin_core core = {.pool = &pool, .size = SIZE};

static struct thin_request request(enum thin_op op, uint64_t begin, uint64_t end)
{
	return (struct thin_request){.core = &core, .op = op, .begin = begin, .end = end};
}

enum mapped {
	HOLE,
	OWN,
	SHARED
};

static struct thin_run run(uint64_t vblock, uint64_t nr, enum mapped m)
{
	return (struct thin_run){
		.vblock = vblock,
		.nr = nr,
		.dblock = m == HOLE ? 0 : 500,
		.mapped = m != HOLE,
		.shared = m == SHARED,
	};
}

static void test_first_and_last(void **state)
{
	struct thin_request req = request(THIN_OP_WRITE, 999, 2001);

	(void)state;
	assert_int_equal(thin_request_first(&req), 0);
	assert_int_equal(thin_request_last(&req), 3);
	req = request(THIN_OP_WRITE, 1000, 2000);
	assert_int_equal(thin_request_first(&req), 1);
	assert_int_equal(thin_request_last(&req), 2);
}

/* Where the pieces of one run over [begin, end) are cut. */
static void test_cut(void **state)
{
	static const struct {
		uint64_t begin, end, origin_end;
		const char *pieces; /* vblock:nr, '!' whole, '+' all, 'o' origin */
	} cases[] = {
		{0, 3000, 0, "0:3!+"},		 {1, 3000, 0, "0:1 1:2!+"},
		{0, 2999, 0, "0:2!+ 2:1"},	 {500, 600, 0, "0:1"},
		{500, 1500, 0, "0:1 1:1"},	 {999, 3001, 0, "0:1 1:2!+ 3:1"},
		{8000, 9500, 0, "8:1!+ 9:1+"},	 {9000, 9500, 0, "9:1+"},
		{9001, 9500, 0, "9:1"},		 {9000, 9499, 0, "9:1"},
		{0, 8000, 3500, "0:4!+o 4:4!+"}, {1, 8000, 3500, "0:1o 1:3!+o 4:4!+"},
		{0, 3000, 3000, "0:3!+o"},	 {0, 4000, 3000, "0:3!+o 3:1!+"},
		{0, 4000, 3001, "0:4!+o"},	 {0, 3000, 1, "0:1!+o 1:2!+"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct thin_request req =
			request(THIN_OP_WRITE, cases[i].begin, cases[i].end);
		uint64_t first = thin_request_first(&req), last = thin_request_last(&req);
		struct thin_run r = run(first, last - first, OWN);
		char text[128] = "";
		struct thin_piece p;

		req.origin_end = cases[i].origin_end;
		for (uint64_t b = first; b < last; b += p.nr) {
			thin_piece_cut(&req, &r, b, &p);
			assert_int_equal(p.vblock, b);
			assert_int_equal(p.dblock, 500 + (b - first));
			snprintf(text + strlen(text), sizeof(text) - strlen(text),
				 "%s%d:%d%s%s%s", *text ? " " : "", (int)p.vblock,
				 (int)p.nr, p.whole ? "!" : "", p.all ? "+" : "",
				 p.origin ? "o" : "");
		}
		assert_string_equal(text, cases[i].pieces);
	}
}

static void test_part(void **state)
{
	struct thin_request req = request(THIN_OP_WRITE, 500, 2700);
	struct thin_piece p = {.vblock = 0, .nr = 1};

	(void)state;
	assert_int_equal(thin_piece_begin(&req, &p), 500);
	assert_int_equal(thin_piece_end(&req, &p), 1000);
	p = (struct thin_piece){.vblock = 1, .nr = 2};
	assert_int_equal(thin_piece_begin(&req, &p), 1000);
	assert_int_equal(thin_piece_end(&req, &p), 2700);
}

/* What is done with the first piece of a request, over each kind of run. */
static void test_actions(void **state)
{
	enum {
		NO,
		IN = THIN_IN_PLACE,
		UN = THIN_UNMAP,
		PROV = THIN_PROVISION
	};
	static const struct {
		enum thin_op op;
		uint64_t begin, end;
		bool origin;
		unsigned flags;
		int hole, own, shared; /* action */
	} cases[] = {
		{THIN_OP_WRITE, 0, 1000, false, 0, PROV, IN, PROV},
		{THIN_OP_WRITE, 1, 9, true, 0, PROV, IN, PROV},

		/* Zeros, whole blocks: a hole is enough where no origin shows. */
		{THIN_OP_ZERO, 0, 1000, false, 0, NO, IN, UN},
		{THIN_OP_ZERO, 0, 1000, false, THIN_MAY_UNMAP, NO, UN, UN},
		{THIN_OP_ZERO, 0, 1000, true, 0, PROV, IN, PROV},
		{THIN_OP_ZERO, 0, 1000, true, THIN_MAY_UNMAP, PROV, IN, PROV},
		{THIN_OP_ZERO, 4000, 5000, true, THIN_MAY_UNMAP, NO, UN, UN},

		/* In part. */
		{THIN_OP_ZERO, 0, 999, false, THIN_MAY_UNMAP, NO, IN, PROV},
		{THIN_OP_ZERO, 1, 1000, true, THIN_MAY_UNMAP, PROV, IN, PROV},

		/* The block that the origin ends in: below and above its end. */
		{THIN_OP_ZERO, 3000, 4000, true, THIN_MAY_UNMAP, PROV, IN, PROV},
		{THIN_OP_ZERO, 3499, 3600, true, 0, PROV, IN, PROV},
		{THIN_OP_ZERO, 3500, 3600, true, 0, NO, IN, PROV},

		/* The volume's short last block. */
		{THIN_OP_ZERO, 9000, 9500, false, THIN_MAY_UNMAP, NO, UN, UN},
		{THIN_OP_ZERO, 9000, 9500, false, 0, NO, IN, UN},
		{THIN_OP_ZERO, 9000, 9499, false, THIN_MAY_UNMAP, NO, IN, PROV},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct thin_request req =
			request(cases[i].op, cases[i].begin, cases[i].end);
		int want[] = {cases[i].hole, cases[i].own, cases[i].shared};

		req.flags = cases[i].flags;
		req.origin_end = cases[i].origin ? ORIGIN : 0;
		for (int m = HOLE; m <= SHARED; m++) {
			uint64_t first = thin_request_first(&req);
			struct thin_run r = run(first, thin_request_last(&req) - first,
						(enum mapped)m);
			struct thin_piece p;

			thin_piece_cut(&req, &r, first, &p);
			if ((int)thin_piece_action(&req, &p) != want[m])
				fail_msg("case %d, mapped %d: %d, not %d", (int)i, m,
					 (int)thin_piece_action(&req, &p), want[m]);
		}
	}
}

/* A cursor with its runs in hand: planning looks nothing up. */
static int plan(struct thin_request *req, const struct thin_run *runs, size_t nr,
		struct thin_plan *ret)
{
	struct thin_cursor c = {.core = &core, .nr = nr};

	memcpy(c.runs, runs, nr * sizeof(*runs));
	c.begin = c.from = runs[0].vblock;
	c.end = c.to = runs[nr - 1].vblock + runs[nr - 1].nr;
	return thin_plan_make(req, &c, ret);
}

static void test_plan(void **state)
{
	struct thin_run runs[] = {run(0, 2, HOLE), run(2, 3, OWN), run(5, 1, SHARED)};
	struct thin_request req = request(THIN_OP_WRITE, 500, 5500);
	struct thin_plan p;

	(void)state;
	assert_int_equal(plan(&req, runs, 3, &p), 0);
	assert_int_equal(p.provision, 3);
	assert_true(p.in_place);
	assert_false(p.unmap);
	req = request(THIN_OP_ZERO, 0, 6000);
	req.flags = THIN_MAY_UNMAP;
	assert_int_equal(plan(&req, runs, 3, &p), 0);
	assert_int_equal(p.provision, 0);
	assert_false(p.in_place);
	assert_true(p.unmap);
}

/* Fast is what writes nothing. */
static void test_fast_only(void **state)
{
	struct thin_run hole = run(0, 2, HOLE), own = run(0, 2, OWN),
			shared = run(0, 2, SHARED);
	struct thin_request req = request(THIN_OP_ZERO, 0, 2000);
	struct thin_plan p;

	(void)state;
	req.flags = THIN_FAST_ONLY;
	assert_int_equal(plan(&req, &hole, 1, &p), 0);
	assert_int_equal(plan(&req, &shared, 1, &p), 0);
	assert_int_equal(plan(&req, &own, 1, &p), -ENOTSUP);
	req.flags |= THIN_MAY_UNMAP;
	assert_int_equal(plan(&req, &own, 1, &p), 0);
	req.end = 1999;
	assert_int_equal(plan(&req, &shared, 1, &p), -ENOTSUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_and_last), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_part),	       cmocka_unit_test(test_actions),
		cmocka_unit_test(test_plan),	       cmocka_unit_test(test_fast_only),
	};

	return cmocka_run_group_tests_name("pieces", tests, NULL, NULL);
}
