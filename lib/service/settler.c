/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/settler.h"

#include "service/service.h"

#include "util/lock.h"
#include "util/thread.h"

#include <errno.h>
#include <stdlib.h>

/* From the last change on; so that one of many does not wait for the disk. */
#define QUIET_NS UINT64_C(1000000000)

struct thin_settler {
	struct thinbd *t;
	pthread_t thread;
	bool started; /* only who starts and who closes the pool */

	struct thin_mutex lock;
	struct thin_cond changed;
	bool kicked THIN_GUARDED_BY(lock);
	bool stop THIN_GUARDED_BY(lock);
};

static void settle(struct thinbd *t)
{
	thin_mutex_lock(&t->lock);
	(void)thin_registry_settle(t->registry); /* it reports a failure */
	thin_mutex_unlock(&t->lock);
}

/* Until nothing has changed for a while. */
static void wait_for_quiet(struct thin_settler *s) THIN_REQUIRES(s->lock)
{
	while (s->kicked && !s->stop) {
		uint64_t deadline = thin_now_ns() + QUIET_NS;

		s->kicked = false;
		while (!s->kicked && !s->stop &&
		       thin_cond_wait_until(&s->changed, &s->lock, deadline))
			;
	}
}

static void *run(void *arg)
{
	struct thin_settler *s = arg;

	thin_mutex_lock(&s->lock);
	while (!s->stop) {
		if (!s->kicked) {
			thin_cond_wait(&s->changed, &s->lock);
			continue;
		}
		wait_for_quiet(s);
		if (s->stop)
			break;
		thin_mutex_unlock(&s->lock);
		settle(s->t);
		thin_mutex_lock(&s->lock);
	}
	thin_mutex_unlock(&s->lock);
	return NULL;
}

/* --- its life ------------------------------------------------------------ */

int thin_settler_new(struct thinbd *t, struct thin_settler **ret)
{
	struct thin_settler *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->t = t;
	thin_mutex_init(&s->lock);
	thin_cond_init(&s->changed);
	*ret = s;
	return 0;
}

int thin_settler_start(struct thin_settler *s)
{
	if (!s)
		return 0;
	int r = thin_thread_start(&s->thread, "thin-settle", run, s);

	s->started = !r;
	return r;
}

static void set_and_wake(struct thin_settler *s, bool stop)
{
	thin_mutex_lock(&s->lock);
	s->kicked = true;
	s->stop |= stop;
	thin_cond_broadcast(&s->changed);
	thin_mutex_unlock(&s->lock);
}

void thin_settler_kick(struct thin_settler *s)
{
	if (s)
		set_and_wake(s, false);
}

void thin_settler_stop(struct thin_settler *s)
{
	if (!s || !s->started)
		return;
	set_and_wake(s, true);
	(void)pthread_join(s->thread, NULL);
	s->started = false;
}

void thin_settler_free(struct thin_settler *s)
{
	if (!s)
		return;
	thin_cond_fini(&s->changed);
	thin_mutex_fini(&s->lock);
	free(s);
}
