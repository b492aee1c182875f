/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that goes on by itself: flattening that was interrupted when the pool
 * was closed last, or by a crash; in a thread a volume.  A job stays in the
 * list until the pool is closed.
 */
#include "service/flatten.h"
#include "service/service.h"
#include "util/thread.h"

#include <errno.h>
#include <string.h>

struct thin_job {
	struct thin_job *next;
	struct thinbd *t;
	char *name;
	uint32_t device;
	pthread_t thread;
	atomic_bool stop;
};

/* The registry keeps that it is being flattened: thin_jobs_resume(). */
static int go_on(void *ctx, uint64_t done, uint64_t total)
{
	struct thin_job *job = ctx;

	(void)done;
	(void)total;
	return atomic_load(&job->stop) ? -EINTR : 0;
}

static void *run(void *arg)
{
	struct thin_job *job = arg;
	struct thin_flatten_params p = {
		.name = job->name,
		.device = job->device,
		.progress = go_on,
		.ctx = job,
	};
	struct thin_error e = {0}, line;
	uint64_t copied;
	int r = thin_flatten(job->t, &p, &copied, &e);

	if (r && r != -EINTR)
		(void)thin_error_set(&line, r, "flatten %s: %s", job->name, e.text);
	else
		(void)thin_error_set(&line, r, "flatten %s: %s", job->name,
				     r ? "interrupted" : "done");
	thin_service_tell(job->t, THINBD_EVENT_NOTE, line.text);
	return NULL;
}

static void end_job(struct thin_job *job)
{
	(void)pthread_join(job->thread, NULL);
	free(job->name);
	free(job);
}

static int start_job(struct thinbd *t, const struct thin_volume_conf *v)
{
	struct thin_job *job = calloc(1, sizeof(*job));
	char *copy = strdup(v->name);
	int r = job && copy ? 0 : -ENOMEM;

	if (!r) {
		*job = (struct thin_job){
			.t = t, .name = copy, .device = v->device, .next = t->jobs};
		r = thin_thread_start(&job->thread, "thin-job", run, job);
	}
	if (r) {
		free(job);
		free(copy);
		return r;
	}
	t->jobs = job;
	return 0;
}

void thin_jobs_resume(struct thinbd *t)
{
	_cleanup_volume_list struct thin_volume_list list = {0};

	if (thin_registry_list(t->registry, &list))
		return;
	for (size_t i = 0; i < list.nr; i++)
		if (list.at[i]->flattening && start_job(t, list.at[i]))
			thin_service_tell(t, THINBD_EVENT_NOTE,
					  "an interrupted flatten can not go on");
}

void thin_jobs_stop(struct thinbd *t)
{
	struct thin_job *job;

	for (job = t->jobs; job; job = job->next)
		atomic_store(&job->stop, true);
	while ((job = t->jobs)) {
		t->jobs = job->next;
		end_job(job);
	}
}
