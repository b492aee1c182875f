/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P11, I12: power is lost after each event of each kind of change, with
 * each outcome of the metadata's commit, and again in what the next open
 * does about it.  Whatever of the undurable is then there, the registry is
 * what it was before or what it is after, as the metadata says.
 */
#include "registry_scenarios.h"

#include "seeded.h"

#include "util/crc32c.h"

static struct seeded rnd;

/* ---- images that were looked at already ---- */

#define SEEN (1 << 18)

static uint64_t seen[SEEN];
static size_t nr_seen, nr_images;

/* Is @key new? */
static bool first_time(uint64_t key)
{
	size_t i = key % SEEN;

	key |= 1; /* 0 is a free place */
	for (; seen[i]; i = (i + 1) % SEEN)
		if (seen[i] == key)
			return false;
	assert_true(nr_seen++ < SEEN / 2);
	seen[i] = key;
	return true;
}

static void forget_seen(void)
{
	memset(seen, 0, sizeof(seen));
	nr_seen = 0;
}

/* ---- all that may be found after a crash ---- */

/* Of each crash so many random images, besides the two simplest ones. */
static size_t some;

static bool all_subsets(const struct model *m)
{
	return m->nr_pending < 16 && (size_t)1 << m->nr_pending <= some;
}

/* None, all; else a prefix, one left out, or anything. */
static uint64_t mask(const struct model *m, size_t i)
{
	size_t n = m->nr_pending;

	if (i < 2 || all_subsets(m))
		return i == 1 && n > 1 && !all_subsets(m) ? ~UINT64_C(0) : i;
	switch (seeded_below(&rnd, 3)) {
	case 0:
		return (UINT64_C(1) << seeded_below(&rnd, n)) - 1;
	case 1:
		return ~(UINT64_C(1) << seeded_below(&rnd, n));
	default:
		return seeded_next(&rnd);
	}
}

static void each_image(const struct model *m, uint64_t key,
		       void (*fn)(const struct model *image, void *ctx), void *ctx)
{
	bool all = all_subsets(m);
	size_t nr = all ? (size_t)1 << m->nr_pending : some + 2;
	int contents = model_has_unsynced(m) ? MODEL_CONTENTS : 1;

	for (size_t i = 0; i < nr; i++)
		for (int content = 0; content < contents; content++) {
			struct model image;

			if (!all && i > 1 && seeded_below(&rnd, (uint64_t)contents))
				continue;
			model_crash(m, mask(m, i), (enum model_content)content, &image);
			if (!first_time(model_hash(&image) * 31 + key))
				continue;
			nr_images++;
			fn(&image, ctx);
		}
}

/* ---- opening again ---- */

/* A crash: which change, where, what the metadata is, what must be found. */
struct crash {
	const struct scenario *scenario;
	unsigned warm;
	const struct states *states;
	size_t cut;
	struct devices devices;
	const char *wanted; /* NULL: before or after */
	size_t second_cut;
};

static void assert_state(const struct crash *c, const char *found)
{
	if (c->wanted ? !strcmp(found, c->wanted)
		      : !strcmp(found, c->states->before) ||
				!strcmp(found, c->states->after))
		return;
	fail_msg("%s, cut at %zu, devices %#x, then at %zu:\n%s\nwanted:\n%s",
		 c->scenario->name, c->cut, c->devices.bits, c->second_cut, found,
		 c->wanted ? c->wanted : "before or after");
}

/* What else, besides the image, decides whether all is well. */
static uint64_t salt(const struct crash *c)
{
	uint64_t wanted = !c->wanted ? 0 : strcmp(c->wanted, c->states->before) ? 1 : 2;

	return c->devices.bits * 4 + wanted;
}

/* Nothing but the volumes' files. */
static void assert_clean(const struct model *m)
{
	char name[THIN_NAME_MAX + 1];

	for (size_t i = 0; i < m->now.nr; i++)
		if (!thin_volume_of_file(m->now.entry[i].name, name))
			fail_msg("%s is left", m->now.entry[i].name);
}

static struct thin_registry *open_image(struct crash *c, struct model *image,
					bool readonly)
{
	struct thin_error e = {""};
	struct thin_registry *reg = NULL;

	if (open_registry(image, &c->devices, readonly, &reg, &e))
		fail_msg("%s, cut at %zu, then at %zu: %s", c->scenario->name, c->cut,
			 c->second_cut, e.text);
	return reg;
}

/* Open @image and take it for what it says; @ret gets that. */
static void open_and_say(struct crash *c, struct model *image, bool readonly,
			 char ret[STATE_TEXT])
{
	struct thin_registry *reg = open_image(c, image, readonly);

	say(reg, ret);
	assert_state(c, ret);
	thin_registry_close(reg);
}

static void second_image(const struct model *image, void *ctx)
{
	struct model m = *image;
	char found[STATE_TEXT];

	open_and_say(ctx, &m, false, found);
	assert_clean(&m);
}

/* What the first open, of so many events, found, all later ones must find. */
static void crash_again(struct crash *c, const struct model *image, size_t events,
			const char *found)
{
	struct crash second = *c;

	second.wanted = found;
	for (size_t i = 0; i < events; i++) {
		struct model m = *image;
		struct thin_registry *reg = NULL;
		struct thin_error e;

		/* All of them where there is time, or one after the other. */
		m.cut = second.second_cut = some > events ? i : nr_seen % events;
		if (!open_registry(&m, &second.devices, false, &reg, &e))
			thin_registry_close(reg);
		each_image(&m, salt(&second) + (UINT64_C(1) << 40), second_image,
			   &second);
		if (some <= events)
			return;
	}
}

/* It can be worked with: another change, durable at its end. */
static void work_on(struct crash *c, struct model *image)
{
	struct thin_registry *reg = open_image(c, image, false);
	_cleanup_volume_conf struct thin_volume_conf *v = volume("later", 20, NULL);
	struct thin_change change = {THIN_CHANGE_CREATE, .volume = v};
	struct thin_error e;

	assert_int_equal(thin_registry_begin(reg, &change, 1, &e), 0);
	thin_registry_finish(reg);
	thin_registry_close(reg);
	assert_int_equal(image->nr_pending, 0);
	assert_clean(image);
}

static void first_image(const struct model *image, void *ctx)
{
	struct model m = *image;
	char readonly[STATE_TEXT], found[STATE_TEXT];
	size_t events;

	open_and_say(ctx, &m, true, readonly);
	assert_int_equal(m.events, 0);
	open_and_say(ctx, &m, false, found);
	assert_string_equal(readonly, found);
	assert_clean(&m);
	events = m.events;
	work_on(ctx, &m);
	crash_again(ctx, image, events, found);
}

/* ---- the first crash ---- */

enum ending {
	FINISH,
	CANCEL,
	ABANDON
};

/* Run @s, until the power goes at event @cut. */
static void run_until(const struct scenario *s, unsigned warm, size_t cut,
		      enum ending ending, struct model *m)
{
	struct devices d;
	struct thin_registry *reg = open_pool(m, &d, warm);
	struct thin_error e;

	m->cut = cut;
	if (!begin(s, reg, &e)) {
		d.bits = bits_after(s);
		if (ending == FINISH)
			thin_registry_finish(reg);
		else if (ending == CANCEL)
			thin_registry_cancel(reg);
		else
			thin_registry_abandon(reg);
	}
	thin_registry_close(reg);
}

static void crash_at(struct crash *c, enum ending ending, bool committed)
{
	struct model m;

	c->devices.bits = committed ? bits_after(c->scenario) : BEFORE_BITS;
	if (wants_commit(c->scenario))
		c->wanted = committed ? c->states->after : c->states->before;
	else if (ending == FINISH && c->cut >= c->states->events_begin)
		c->wanted = c->states->after; /* it was durable */
	else
		c->wanted = NULL;
	run_until(c->scenario, c->warm, c->cut, ending, &m);
	each_image(&m, salt(c), first_image, c);
}

static void every_cut_of(const struct scenario *s, unsigned warm, enum ending ending)
{
	struct states states;

	run_well(s, warm, &states);
	for (size_t cut = states.events_warm; cut <= states.events_all + 1; cut++) {
		struct crash c = {
			.scenario = s, .warm = warm, .states = &states, .cut = cut};

		/* In begin it was not, and in finish it was. */
		if (cut <= states.events_begin || ending != FINISH)
			crash_at(&c, ending, false);
		if (cut >= states.events_begin && ending != CANCEL)
			crash_at(&c, ending, true);
	}
	forget_seen();
	model_forget_all();
}

static void every_cut(enum ending ending)
{
	nr_images = 0;
	for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
		for (size_t w = 0; w < ARRAY_LEN(warm_ups); w++)
			every_cut_of(&scenarios[i], warm_ups[w], ending);
	printf("%zu images\n", nr_images);
}

static void every_cut_of_a_change(void **state)
{
	(void)state;
	rnd = seeded_start("every_cut_of_a_change");
	every_cut(FINISH);
}

static void every_cut_of_a_cancel(void **state)
{
	(void)state;
	rnd = seeded_start("every_cut_of_a_cancel");
	every_cut(CANCEL);
}

static void abandoned(void **state)
{
	(void)state;
	rnd = seeded_start("abandoned");
	every_cut(ABANDON);
}

/* After close() nothing is pending, and nothing but the volumes' files is left. */
static void closed_is_clean(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
		struct model m;

		run_until(&scenarios[i], 1, SIZE_MAX, FINISH, &m);
		assert_int_equal(m.nr_pending, 0);
		assert_false(model_has_unsynced(&m));
		assert_clean(&m);
		run_until(&scenarios[i], 1, SIZE_MAX, CANCEL, &m);
		assert_int_equal(m.nr_pending, 0);
		assert_clean(&m);
		model_forget_all();
	}
}

/* What is settled needs no journal, and stays settled without one. */
static void settled_without_a_journal(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
		struct devices d;
		struct thin_error e;
		struct model m, image;
		struct states states;
		struct thin_registry *reg;
		char found[STATE_TEXT];

		run_well(&scenarios[i], 1, &states);
		reg = open_pool(&m, &d, 1);
		assert_int_equal(begin(&scenarios[i], reg, &e), 0);
		d.bits = bits_after(&scenarios[i]);
		thin_registry_finish(reg);
		assert_true(thin_registry_settle(reg));
		model_crash(&m, 0, MODEL_EMPTY, &image);
		model_drop(&image.now, THIN_JOURNAL_FILE);
		thin_registry_close(reg);
		assert_int_equal(open_registry(&image, &d, false, &reg, &e), 0);
		say(reg, found);
		assert_string_equal(found, states.after);
		thin_registry_close(reg);
		model_forget_all();
	}
}

/* ---- the metadata was changed by others meanwhile (D4) ---- */

static void evidence_that_does_not_fit(void **state)
{
	struct devices d;
	struct thin_registry *reg;
	struct thin_error e;
	struct states states;
	struct model m, again;

	(void)state;
	run_well(&scenarios[1], 0, &states); /* a snapshot group */
	run_until(&scenarios[1], 0, states.events_begin, ABANDON, &m);
	again = m;
	d.bits = BEFORE_BITS | 1u << 8; /* one of two */
	assert_int_equal(open_registry(&m, &d, false, &reg, &e), -EUCLEAN);
	assert_has(e.text, "devices 8 and 9 do not fit together");
	assert_int_equal(m.nr_pending, again.nr_pending);
	d.bits = BEFORE_BITS | 3u << 8;
	assert_int_equal(open_registry(&m, &d, false, &reg, &e), 0);
	thin_registry_close(reg);
	model_forget_all();
}

/* Volumes whose devices were lost can be deleted, and that decides nothing. */
static void lost_devices_decide_nothing(void **state)
{
	struct devices d = {BEFORE_BITS & ~(1u << 1)};
	char before[STATE_TEXT], found[STATE_TEXT];
	struct thin_registry *reg;
	struct thin_error e;
	struct model m;

	(void)state;
	make_pool(&m);
	assert_int_equal(open_registry(&m, &d, false, &reg, &e), 0);
	say(reg, before);
	assert_int_equal(begin(&scenarios[3], reg, &e),
			 0); /* two, of which one is lost */
	thin_registry_abandon(reg);
	thin_registry_close(reg);
	assert_int_equal(open_registry(&m, &d, false, &reg, &e), 0);
	say(reg, found);
	assert_string_equal(before, found);
	thin_registry_close(reg);
	model_forget_all();
}

/* A change that is whole and does not read is not guessed at. */
static void put_journal(struct model *m, const char *text)
{
	char rest[1000], journal[1100];
	size_t n = (size_t)snprintf(rest, sizeof(rest),
				    "; change 7 after a finished one; %zu bytes\n%s",
				    strlen(text), text);

	assert_true(n < sizeof(rest));
	n = (size_t)sprintf(journal, "# crc32c %08x%s", thin_crc32c(rest, n), rest);
	model_add(&m->now, THIN_JOURNAL_FILE, model_inode(journal, n));
}

static void damaged_change(void **state)
{
	static const char *const texts[] = {
		"",
		"appear = [ ]; vanish = [ ]; remove = ( ); put = ( 5 );",
		"appear = [ ]; vanish = [ ]; remove = ( \"../../x\" ); put = ( );",
		"appear = [ ]; vanish = [ ]; remove = ( 5 ); put = ( );",
		"appear = [ -1 ]; vanish = [ ]; remove = ( ); put = ( );",
		"appear = [ \"a\" ]; vanish = [ ]; remove = ( ); put = ( );",
		"appear = [ ]; vanish = ( ); remove = ( ); put = ( );",
		"appear = [ ]; vanish = [ ]; remove = ( ); put = ( { name = \"../x\"; "
		"device = 1;"
		" size = 1; created = \"2026-01-01T00:00:00Z\"; } );",
	};
	struct devices d = {BEFORE_BITS};
	struct thin_registry *reg;
	struct thin_error e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct model m;

		make_pool(&m);
		put_journal(&m, texts[i]);
		assert_int_equal(open_registry(&m, &d, false, &reg, &e), -EINVAL);
		assert_has(e.text, "volumes/.journal:");
		assert_int_equal(m.events, 0);
	}
	model_forget_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cut_of_a_change),
		cmocka_unit_test(every_cut_of_a_cancel),
		cmocka_unit_test(abandoned),
		cmocka_unit_test(closed_is_clean),
		cmocka_unit_test(settled_without_a_journal),
		cmocka_unit_test(evidence_that_does_not_fit),
		cmocka_unit_test(lost_devices_decide_nothing),
		cmocka_unit_test(damaged_change),
	};

	const char *given = getenv("THINBD_IMAGES");

	some = given ? strtoul(given, NULL, 0) : 4;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
