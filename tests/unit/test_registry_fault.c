/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P6 for the registry: each file operation of each kind of change fails,
 * once or from then on.  The change is then made or not, never in between;
 * what is read meanwhile, what the next open finds and what begin() returned
 * agree.
 */
#include "registry_scenarios.h"

static const int errors[] = {-ENOSPC, -EIO};

/* The failure to come, and what became of it. */
struct fault {
	const struct scenario *scenario;
	unsigned warm;
	const struct states *states;
	struct model m;
	struct devices devices;
	struct thin_registry *reg;
	bool begun;
};

static void assert_says(struct fault *f, const char *wanted)
{
	char found[STATE_TEXT];

	say(f->reg, found);
	if (strcmp(found, wanted))
		fail_msg("%s, event %zu:\n%s\nwanted:\n%s", f->scenario->name, f->m.fail,
			 found, wanted);
}

static void start(struct fault *f)
{
	f->reg = open_pool(&f->m, &f->devices, f->warm);
}

static void run(struct fault *f, size_t event, int err, bool sticky)
{
	struct thin_error e = {""};
	int r;

	start(f);
	f->m.fail = event;
	f->m.fail_with = err;
	f->m.sticky = sticky;
	r = begin(f->scenario, f->reg, &e);
	f->begun = !r;
	if (r) {
		assert_int_equal(r, err);
		assert_has(e.text, "volumes");
		assert_has(e.text, strerrordesc_np(-err));
		assert_says(f, f->states->before);
		return;
	}
	f->devices.bits = bits_after(f->scenario);
	thin_registry_finish(f->reg);
	assert_says(f, f->states->after);
}

static void mend(struct fault *f)
{
	f->m.fail_with = 0;
	f->m.failed = 0;
}

/* Without a crash: all that was done is there. */
static void open_anew(struct fault *f, bool readonly)
{
	struct thin_error e = {""};

	thin_registry_close(f->reg);
	if (open_registry(&f->m, &f->devices, readonly, &f->reg, &e))
		fail_msg("%s, event %zu: %s", f->scenario->name, f->m.fail, e.text);
}

static void end(struct fault *f)
{
	thin_registry_close(f->reg);
	model_forget_all();
}

static void each_fault_of(const struct scenario *s, unsigned warm, bool sticky,
			  void (*fn)(struct fault *f))
{
	struct states states;

	run_well(s, warm, &states);
	for (size_t event = states.events_warm; event < states.events_finish; event++)
		for (size_t e = 0; e < ARRAY_LEN(errors); e++) {
			struct fault f = {.scenario = s, .warm = warm, .states = &states};

			run(&f, event, errors[e], sticky);
			fn(&f);
			end(&f);
		}
}

static void each_fault(bool sticky, void (*fn)(struct fault *f))
{
	for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
		for (size_t w = 0; w < ARRAY_LEN(warm_ups); w++)
			each_fault_of(&scenarios[i], warm_ups[w], sticky, fn);
}

static const char *wanted(const struct fault *f)
{
	return f->begun ? f->states->after : f->states->before;
}

/* What was written for nothing is gone, unless it is removing that fails. */
static void assert_no_litter(const struct fault *f)
{
	for (size_t i = 0; i < f->m.now.nr; i++)
		if (!strncmp(f->m.now.entry[i].name, THIN_FILES_TMP,
			     strlen(THIN_FILES_TMP)))
			fail_msg("%s, event %zu: %s is left", f->scenario->name,
				 f->m.fail, f->m.now.entry[i].name);
}

static void as_it_said(struct fault *f)
{
	if (!f->begun)
		assert_no_litter(f);
	mend(f);
	open_anew(f, true);
	assert_says(f, wanted(f));
	open_anew(f, false);
	assert_says(f, wanted(f));
}

static void once(void **state)
{
	(void)state;
	each_fault(false, as_it_said);
}

/* Once the disk is full, or dead, it stays so: also while opening. */
static void opened_with_the_same_fault(struct fault *f)
{
	open_anew(f, true);
	if (!f->begun && !wants_commit(f->scenario))
		return; /* its intent may be there, and then it happened */
	assert_says(f, wanted(f));
	open_anew(f, false);
	assert_says(f, wanted(f));
}

static void from_then_on(void **state)
{
	(void)state;
	each_fault(true, opened_with_the_same_fault);
}

/* Of something that counts. */
static bool sync_failed(const struct model *m)
{
	return m->failed == 'd' || m->failed == 'S' ||
	       (m->failed == 's' && !m->failed_new);
}

/*
 * After a failed sync nothing more is changed; after anything
 * else, what is left is made good, and then the same change, or another one,
 * can be made.
 */
static void work_on(struct fault *f)
{
	struct thin_error e = {""};
	_cleanup_volume_conf struct thin_volume_conf *v = volume("later", 20, NULL);
	struct thin_change change = {THIN_CHANGE_CREATE, .volume = v};
	bool unsure = sync_failed(&f->m);
	int r;

	mend(f);
	r = thin_registry_begin(f->reg, &change, 1, &e);
	if (r != (unsure ? -ESHUTDOWN : 0))
		fail_msg("%s, event %zu: %d", f->scenario->name, f->m.fail, r);
	if (unsure) {
		assert_has(e.text, "until the pool is opened again");
		assert_says(f, wanted(f));
		open_anew(f, false);
		assert_int_equal(thin_registry_begin(f->reg, &change, 1, &e), 0);
	}
	f->devices.bits |= 1u << 20;
	thin_registry_finish(f->reg);
	if (!f->begun) {
		if (begin(f->scenario, f->reg, &e))
			fail_msg("%s, event %zu: %s", f->scenario->name, f->m.fail,
				 e.text);
		thin_registry_cancel(f->reg);
	}
	assert_true(thin_registry_settle(f->reg));
}

static void mended(void **state)
{
	(void)state;
	each_fault(false, work_on);
}

/* A change that is still to be put in place comes first. */
static void unsettled_until_it_works(void **state)
{
	struct fault f = {.scenario = &scenarios[7]}; /* rename */
	_cleanup_volume_conf struct thin_volume_conf *v = volume("later", 20, NULL);
	struct thin_change change = {THIN_CHANGE_CREATE, .volume = v};
	struct thin_error e;
	struct states states;

	(void)state;
	run_well(f.scenario, f.warm, &states);
	f.states = &states;
	run(&f, states.events_begin, -ENOSPC, true); /* the first rename of finish() */
	assert_true(f.begun);
	assert_int_equal(f.m.failed, 'r');
	assert_int_equal(thin_registry_begin(f.reg, &change, 1, &e), -ENOSPC);
	assert_int_equal(thin_registry_begin(f.reg, &change, 1, &e), -ENOSPC);
	assert_says(&f, states.after);
	mend(&f);
	assert_int_equal(thin_registry_begin(f.reg, &change, 1, &e), 0);
	thin_registry_cancel(f.reg);
	assert_says(&f, states.after);
	open_anew(&f, false);
	assert_says(&f, states.after);
	end(&f);
}

/* Recovery that fails is as good in memory, and made good before a change. */
static void opening_that_fails(void **state)
{
	struct states states;
	struct fault f = {.scenario = &scenarios[7], .states = &states}; /* rename */
	_cleanup_volume_conf struct thin_volume_conf *v = volume("later", 20, NULL);
	struct thin_change change = {THIN_CHANGE_CREATE, .volume = v};
	struct thin_error e;
	size_t events = 1;

	(void)state;
	run_well(f.scenario, f.warm, &states);
	for (size_t event = 0; event < events; event++) {
		int r;

		start(&f);
		assert_int_equal(begin(f.scenario, f.reg, &e), 0);
		thin_registry_abandon(f.reg);
		f.m.events = 0;
		f.m.fail = event;
		f.m.fail_with = -ENOSPC;
		open_anew(&f, false);
		events = f.m.events;
		assert_says(&f, states.after);
		r = sync_failed(&f.m) ? -ESHUTDOWN : 0;
		mend(&f);
		assert_int_equal(thin_registry_begin(f.reg, &change, 1, &e), r);
		if (!r)
			thin_registry_cancel(f.reg);
		open_anew(&f, false);
		assert_says(&f, states.after);
		end(&f);
	}
	assert_true(events > 10);
}

/* cancel() that fails leaves a registry that takes no more changes. */
static void cancel_that_fails(void **state)
{
	struct states states;

	(void)state;
	run_well(&scenarios[0], 0, &states);
	/* The new file that is of no use any more comes first, and may stay. */
	for (size_t event = states.events_begin + 1; event < states.events_begin + 3;
	     event++) {
		struct fault f = {.scenario = &scenarios[0], .states = &states};
		struct thin_error e;

		start(&f);
		assert_int_equal(begin(f.scenario, f.reg, &e), 0);
		f.m.fail = event;
		f.m.fail_with = -EIO;
		thin_registry_cancel(f.reg);
		assert_true(f.m.failed);
		assert_says(&f, states.before);
		mend(&f);
		assert_int_equal(begin(f.scenario, f.reg, &e), -ESHUTDOWN);
		open_anew(&f, false);
		assert_says(&f, states.before);
		assert_int_equal(begin(f.scenario, f.reg, &e), 0);
		thin_registry_cancel(f.reg);
		end(&f);
	}
}

static int no_answer(void *ctx, uint32_t device, bool *ret)
{
	(void)ctx;
	(void)device;
	(void)ret;
	return -EIO;
}

/* Where the metadata can not be asked, nothing is begun and nothing decided. */
static void metadata_that_does_not_answer(void **state)
{
	struct fault f = {.scenario = &scenarios[0]};
	struct thin_registry_params p = {.files = &f.m.files, .device_exists = no_answer};
	struct thin_registry *reg;
	struct thin_error e = {""};

	(void)state;
	start(&f);
	assert_int_equal(begin(f.scenario, f.reg, &e), 0);
	thin_registry_abandon(f.reg);
	assert_int_equal(thin_registry_open(&p, &reg, &e), -EIO);
	assert_has(e.text, "volumes/.journal");
	open_anew(&f, false);
	thin_registry_close(f.reg);
	assert_int_equal(thin_registry_open(&p, &f.reg, &e), 0);
	assert_int_equal(begin(f.scenario, f.reg, &e), -EIO);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(once),
		cmocka_unit_test(from_then_on),
		cmocka_unit_test(mended),
		cmocka_unit_test(unsettled_until_it_works),
		cmocka_unit_test(opening_that_fails),
		cmocka_unit_test(cancel_that_fails),
		cmocka_unit_test(metadata_that_does_not_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
