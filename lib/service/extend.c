/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/extend.h"

#include "service/service.h"
#include "util/checked.h"
#include "util/limits.h"
#include "util/thread.h"

#include <errno.h>
#include <stdio.h>

struct thin_extender {
	struct thinbd *t;
	pthread_t thread;
	bool started;
	atomic_bool no_data;	 /* growing failed, and was told */
	atomic_bool no_metadata; /* likewise */
	struct thin_mutex lock;
	struct thin_cond changed;
	bool kicked THIN_GUARDED_BY(lock);
	bool stop THIN_GUARDED_BY(lock);
};

/* --- how much ------------------------------------------------------------ */

/* What @total bytes are to become; @total where they may not grow. */
static uint64_t grown(const struct thin_pool_conf *conf, uint64_t total, uint64_t unit,
		      uint64_t limit)
{
	uint64_t step = thin_amount_bytes(&conf->auto_extend_step, total);
	uint64_t bytes;

	step = thin_div_up(step, unit) * unit;
	if (!step || !thin_add_ok(total, step, &bytes))
		return total;
	return thin_max(total, thin_min(bytes, limit));
}

static uint64_t data_step(const struct thinbd *t, const struct thin_pool_status *s)
{
	uint64_t total = s->metadata.nr_data_blocks * s->block_size;

	return grown(&t->conf, total, s->block_size, t->conf.auto_extend_limit) - total;
}

static uint64_t metadata_step(const struct thinbd *t, const struct thin_pool_status *s)
{
	uint64_t total = s->metadata.nr_metadata_blocks * THIN_METADATA_BLOCK;

	return grown(&t->conf, total, THIN_METADATA_BLOCK,
		     THIN_MAX_METADATA_BLOCKS * THIN_METADATA_BLOCK) -
	       total;
}

/* 0 where there is nothing to do. */
static uint64_t data_target(const struct thinbd *t, const struct thin_pool_status *s)
{
	uint64_t step = s->data_spare > s->low_water_data ? 0 : data_step(t, s);

	return step ? s->metadata.nr_data_blocks * s->block_size + step : 0;
}

static uint64_t metadata_target(const struct thinbd *t, const struct thin_pool_status *s)
{
	bool low = s->metadata.metadata_free <= s->low_water_metadata;
	uint64_t step = low ? metadata_step(t, s) : 0;

	return step ? s->metadata.nr_metadata_blocks * THIN_METADATA_BLOCK + step : 0;
}

uint64_t thin_extend_data_step(const struct thinbd *t, const struct thin_pool_status *s)
{
	struct thin_extender *x = t->extender;

	return x && atomic_load(&x->no_data) ? 0 : data_step(t, s);
}

uint64_t thin_extend_metadata_step(const struct thinbd *t,
				   const struct thin_pool_status *s)
{
	struct thin_extender *x = t->extender;

	return x && atomic_load(&x->no_metadata) ? 0 : metadata_step(t, s);
}

/* --- doing it ------------------------------------------------------------ */

struct step {
	const char *what;
	enum thinbd_event event;
	uint64_t data, metadata; /* bytes; one of them is 0 */
};

static void tell(struct thin_extender *x, const struct step *step, int r)
{
	char text[THIN_ERROR_TEXT], size[THIN_SIZE_TEXT];

	(void)thin_size_human(step->data + step->metadata, size);
	if (r)
		snprintf(text, sizeof(text),
			 "%s: the %s can not grow to %s by itself: %s; see `thinbd grow`",
			 x->t->dir, step->what, size, thin_strerror(r));
	else
		snprintf(text, sizeof(text), "%s: the %s has grown to %s", x->t->dir,
			 step->what, size);
	thin_service_tell(x->t, step->event, text);
}

/* Once it did not work, it is not tried again. */
static bool do_step(struct thin_extender *x, const struct step *step,
		    atomic_bool *given_up)
{
	if (atomic_load(given_up) || !(step->data + step->metadata))
		return false;
	int r = thin_grow(x->t, step->data, step->metadata);
	tell(x, step, r);
	atomic_store(given_up, r != 0);
	return !r;
}

/* True when something has grown: there may be need for more. */
static bool extend(struct thin_extender *x)
{
	struct step data = {.what = "data", .event = THINBD_EVENT_LOW_DATA};
	struct step metadata = {.what = "metadata", .event = THINBD_EVENT_LOW_METADATA};
	struct thin_pool_status s;

	thin_mutex_lock(&x->t->lock);
	thin_pool_status(x->t->pool, &s);
	data.data = data_target(x->t, &s);
	metadata.metadata = metadata_target(x->t, &s);
	bool more_data = do_step(x, &data, &x->no_data);
	bool more_metadata = do_step(x, &metadata, &x->no_metadata);
	thin_mutex_unlock(&x->t->lock);
	return more_data || more_metadata;
}

static void *run(void *arg)
{
	struct thin_extender *x = arg;

	thin_mutex_lock(&x->lock);
	while (!x->stop) {
		if (!x->kicked) {
			thin_cond_wait(&x->changed, &x->lock);
			continue;
		}
		x->kicked = false;
		thin_mutex_unlock(&x->lock);
		while (extend(x))
			;
		thin_mutex_lock(&x->lock);
	}
	thin_mutex_unlock(&x->lock);
	return NULL;
}

/* --- its life ------------------------------------------------------------ */

int thin_extender_new(struct thinbd *t, struct thin_extender **ret)
{
	struct thin_extender *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->t = t;
	thin_mutex_init(&x->lock);
	thin_cond_init(&x->changed);
	*ret = x;
	return 0;
}

int thin_extender_start(struct thin_extender *x)
{
	if (!x)
		return 0;
	int r = thin_thread_start(&x->thread, "thin-extend", run, x);

	x->started = r == 0;
	return r;
}

static void set_and_wake(struct thin_extender *x, bool stop)
{
	thin_mutex_lock(&x->lock);
	x->kicked = true;
	x->stop |= stop;
	thin_cond_broadcast(&x->changed);
	thin_mutex_unlock(&x->lock);
}

void thin_extender_kick(struct thin_extender *x)
{
	if (x)
		set_and_wake(x, false);
}

void thin_extender_stop(struct thin_extender *x)
{
	if (!x || !x->started)
		return;
	set_and_wake(x, true);
	(void)pthread_join(x->thread, NULL);
	x->started = false;
}

void thin_extender_free(struct thin_extender *x)
{
	if (!x)
		return;
	thin_cond_fini(&x->changed);
	thin_mutex_fini(&x->lock);
	free(x);
}
