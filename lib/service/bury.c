/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Freeing what the devices of deleted volumes have.
 *
 * With its record in the registry buried, a volume is gone: its name is free,
 * and what is left is a tombstone, which names the device, and the device.
 * Both go here.  A device is only ever freed because of its tombstone, so that
 * one without a name (made by a message, or by others) is safe.
 *
 *  B1  Who buries asks how much work it is.  A little is done before the
 *      answer, so that a script finds the space free.  The rest is for the
 *      burier, a thread that runs while the pool is served.
 *  B2  Nobody else touches a device that the burier has: the pool claims it.
 *  B3  What the burier has not done when the pool is closed, or lost, the
 *      next open finds by the tombstones (thin_burier_recover()), and does if
 *      it is little; else the next burier, or a verb in a pool that nobody
 *      serves (thin_bury_rest()).
 *  B4  While there is a tombstone nobody here makes a device of its number.
 *      Others may, where the pool was in their hands (the kernel's, or
 *      another program's): the tombstone says what the device it means was
 *      born with, and another one is left alone.
 */
#include "service/bury.h"

#include "service/service.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct thin_burier {
	struct thinbd *t;
	pthread_t thread;
	bool started; /* only who starts and who closes the pool */
	atomic_bool stop;

	struct thin_mutex lock;
	struct thin_cond changed;
	struct thin_ids queue THIN_GUARDED_BY(lock); /* devices */
};

/* --- which device is meant ------------------------------------------------ */

static int find_device(struct thinbd *t, uint32_t device, struct thin_device_info *ret)
{
	int r = thin_pool_next_device(t->pool, device, ret);

	return !r && ret->id != device ? -ENOENT : r;
}

static char *born_text(const struct thin_device_info *info,
		       char ret[static THIN_BORN_MAX])
{
	snprintf(ret, THIN_BORN_MAX, "time %" PRIu32 ", transaction %" PRIu64,
		 info->creation_time, info->transaction_id);
	return ret;
}

const char *thin_device_born(struct thinbd *t, uint32_t device,
			     char ret[static THIN_BORN_MAX])
{
	struct thin_device_info info;

	return find_device(t, device, &info) ? NULL : born_text(&info, ret);
}

/* B4.  @ret: is there anything to free? */
static int is_meant(struct thinbd *t, const struct thin_volume_conf *tombstone, bool *ret)
{
	char born[THIN_BORN_MAX], line[THIN_ERROR_TEXT];
	struct thin_device_info info;
	int r = find_device(t, tombstone->device, &info);

	*ret = !r;
	if (r)
		return r == -ENOENT ? 0 : r;
	if (!tombstone->born || !strcmp(tombstone->born, born_text(&info, born)))
		return 0;
	*ret = false;
	snprintf(line, sizeof(line),
		 "device %" PRIu32
		 " was deleted (%s), and is another one now (%s): it is "
		 "left alone",
		 tombstone->device, tombstone->born, born);
	thin_service_tell(t, THINBD_EVENT_NOTE, line);
	return 0;
}

/* --- doing it --------------------------------------------------------------- */

/* The tombstones of @devices; others have none any more, and are left out. */
static int find_tombstones(struct thinbd *t, const uint32_t *devices, size_t nr,
			   struct thin_volume_list *ret)
{
	ret->at = calloc(nr + 1, sizeof(*ret->at));
	if (!ret->at)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		_cleanup_volume_conf const struct thin_volume_conf *v = NULL;

		if (!thin_registry_find_device(t->registry, devices[i], &v) &&
		    thin_is_tombstone(v->name))
			ret->at[ret->nr++] = thin_steal(v);
	}
	return 0;
}

/* The devices are gone already, or are not those that were meant. */
static int drop_tombstones(struct thinbd *t, const struct thin_volume_list *list,
			   struct thin_error *e)
{
	_cleanup_free struct thin_change *changes = calloc(list->nr, sizeof(*changes));

	if (!changes)
		return -ENOMEM;
	for (size_t i = 0; i < list->nr; i++)
		changes[i] = (struct thin_change){
			.kind = THIN_CHANGE_DELETE,
			.name = list->at[i]->name,
		};
	thin_mutex_lock(&t->lock);
	int r = thin_registry_begin(t->registry, changes, list->nr, e);
	if (!r)
		thin_registry_finish(t->registry);
	thin_mutex_unlock(&t->lock);
	return r;
}

/* How it is done: NULL as fast as it goes, else as thin_pool_delete_slowly(). */
typedef int go_on_fn(void *ctx);

static int delete_devices(struct thinbd *t, const struct thin_volume_list *list,
			  go_on_fn *go_on, void *ctx)
{
	_cleanup_free uint32_t *left = calloc(list->nr, sizeof(*left));
	size_t nr_left = 0;

	if (!left)
		return -ENOMEM;
	for (size_t i = 0; i < list->nr; i++) {
		bool meant;
		int r = is_meant(t, list->at[i], &meant);
		if (r)
			return r;
		if (meant)
			left[nr_left++] = list->at[i]->device;
	}
	return thin_pool_delete_slowly(t->pool, left, nr_left, go_on, ctx);
}

static int bury_together(struct thinbd *t, const uint32_t *devices, size_t nr,
			 go_on_fn *go_on, void *ctx, struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = find_tombstones(t, devices, nr, &list);

	if (!r && !list.nr)
		return 0;
	if (!r)
		r = delete_devices(t, &list, go_on, ctx);
	if (r)
		return thin_error_set(
			e, r,
			"device %u was deleted, but its blocks are not free yet: "
			"%s; that is tried again when the pool is opened",
			devices[0], thin_strerror(r));
	return drop_tombstones(t, &list, e);
}

/* Together costs two commits and a change; one by one goes as far as it can. */
static int bury_all(struct thinbd *t, const uint32_t *devices, size_t nr, go_on_fn *go_on,
		    void *ctx, struct thin_error *e)
{
	int first = nr ? bury_together(t, devices, nr, go_on, ctx, e) : 0;

	if (!first || first == -EINTR || nr == 1)
		return first;
	first = 0;
	for (size_t i = 0; i < nr; i++) {
		int r = bury_together(t, &devices[i], 1, go_on, ctx, first ? NULL : e);
		if (r == -EINTR)
			return r;
		if (r && !first)
			first = r;
	}
	return first;
}

int thin_bury(struct thinbd *t, const uint32_t *devices, size_t nr, struct thin_error *e)
{
	return bury_all(t, devices, nr, NULL, NULL, e);
}

/* --- the burier --------------------------------------------------------------- */

static int go_on(void *ctx)
{
	struct thin_burier *b = ctx;

	return atomic_load(&b->stop) ? -EINTR : 0;
}

static void report(struct thinbd *t, int r, const struct thin_error *why)
{
	struct thin_error line;

	(void)thin_error_set(&line, r, "deleted volumes: %s",
			     why->text[0] ? why->text : thin_strerror(r));
	thin_service_tell(t, THINBD_EVENT_NOTE, line.text);
}

/* So many are claimed, and then forgotten, together. */
#define TOGETHER 256

static void do_queue(struct thin_burier *b, const struct thin_ids *ids)
{
	for (size_t i = 0; i < ids->nr && !atomic_load(&b->stop); i += TOGETHER) {
		struct thin_error why = {0};
		int r = bury_all(b->t, ids->at + i, thin_min(ids->nr - i, TOGETHER),
				 go_on, b, &why);

		if (r && r != -EINTR)
			report(b->t, r, &why);
	}
}

static void *run(void *arg)
{
	struct thin_burier *b = arg;

	thin_mutex_lock(&b->lock);
	while (!atomic_load(&b->stop)) {
		struct thin_ids ids = b->queue;

		if (!ids.nr) {
			thin_cond_wait(&b->changed, &b->lock);
			continue;
		}
		b->queue = (struct thin_ids){0};
		thin_mutex_unlock(&b->lock);
		do_queue(b, &ids);
		free(ids.at);
		thin_mutex_lock(&b->lock);
	}
	thin_mutex_unlock(&b->lock);
	return NULL;
}

static int append(struct thin_ids *queue, const uint32_t *devices, size_t nr)
{
	void *at = reallocarray(queue->at, queue->nr + nr, sizeof(*queue->at));

	if (!at)
		return -ENOMEM;
	queue->at = at;
	memcpy(queue->at + queue->nr, devices, nr * sizeof(*devices));
	queue->nr += nr;
	return 0;
}

static int hand_over(struct thin_burier *b, const uint32_t *devices, size_t nr)
{
	thin_mutex_lock(&b->lock);
	int r = nr ? append(&b->queue, devices, nr) : 0;
	thin_cond_broadcast(&b->changed);
	thin_mutex_unlock(&b->lock);
	return r;
}

/* --- how much work it is --------------------------------------------------------- */

/*
 * Mappings that are let go of before the answer: a millisecond or two.  A device
 * counts for some itself, and one that is not there for no more.
 */
#define LITTLE	   UINT64_C(16384)
#define FOR_ITSELF 16

static bool is_little(struct thinbd *t, const uint32_t *devices, size_t nr)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < nr && sum <= LITTLE; i++) {
		uint64_t work = 0;

		if (thin_pool_delete_work(t->pool, devices[i], LITTLE, &work))
			work = 0; /* the deletion will say so */
		sum += work + FOR_ITSELF;
	}
	return sum <= LITTLE;
}

/* B1 */
int thin_bury_soon(struct thinbd *t, const uint32_t *devices, size_t nr,
		   struct thin_error *e)
{
	struct thin_burier *b = t->burier;

	if (b && b->started && !is_little(t, devices, nr) && !hand_over(b, devices, nr))
		return 0;
	return thin_bury(t, devices, nr, e);
}

uint64_t thin_mapped_bytes(struct thinbd *t, const uint32_t *devices, size_t nr)
{
	uint64_t blocks = 0;

	for (size_t i = 0; i < nr; i++) {
		struct thin_device_info info;
		if (!find_device(t, devices[i], &info))
			blocks += info.mapped_blocks;
	}
	return blocks * t->block_size;
}

static int all_tombstones(struct thinbd *t, struct thin_ids *ret)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_registry_tombstones(t->registry, &list);

	if (r)
		return r;
	ret->at = calloc(list.nr + 1, sizeof(*ret->at));
	if (!ret->at)
		return -ENOMEM;
	for (size_t i = 0; i < list.nr; i++)
		ret->at[ret->nr++] = list.at[i]->device;
	return 0;
}

uint64_t thin_buried_bytes(struct thinbd *t)
{
	struct thin_ids ids = {0};
	uint64_t bytes = 0;

	if (!all_tombstones(t, &ids))
		bytes = thin_mapped_bytes(t, ids.at, ids.nr);
	free(ids.at);
	return bytes;
}

/* --- its life ---------------------------------------------------------------- */

int thin_burier_new(struct thinbd *t, struct thin_burier **ret)
{
	struct thin_burier *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->t = t;
	thin_mutex_init(&b->lock);
	thin_cond_init(&b->changed);
	*ret = b;
	return 0;
}

static int bury_left(struct thinbd *t,
		     bool (*which)(struct thinbd *t, const uint32_t *devices, size_t nr))
{
	struct thin_error why = {0};
	struct thin_ids ids = {0};
	int r = all_tombstones(t, &ids), failed = 0;

	if (!r && (!which || which(t, ids.at, ids.nr)))
		failed = thin_bury(t, ids.at, ids.nr, &why);
	if (failed)
		report(t, failed, &why);
	free(ids.at);
	return r;
}

/* B3.  What can not be done now keeps nobody from using the rest. */
int thin_burier_recover(struct thinbd *t)
{
	return bury_left(t, is_little);
}

void thin_bury_rest(struct thinbd *t)
{
	int r = t->registry && !t->read_only ? bury_left(t, NULL) : 0;

	if (r)
		report(t, r, &(struct thin_error){0});
}

static int start_thread(struct thin_burier *b)
{
	sigset_t all, before;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = -pthread_create(&b->thread, NULL, run, b);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	b->started = !r;
	return r;
}

int thin_burier_start(struct thin_burier *b)
{
	struct thin_ids left = {0};
	int r;

	if (!b)
		return 0;
	r = all_tombstones(b->t, &left);
	if (!r)
		r = hand_over(b, left.at, left.nr);
	if (!r)
		r = start_thread(b);
	free(left.at);
	return r;
}

void thin_burier_stop(struct thin_burier *b)
{
	if (!b || !b->started)
		return;
	thin_mutex_lock(&b->lock);
	atomic_store(&b->stop, true);
	thin_cond_broadcast(&b->changed);
	thin_mutex_unlock(&b->lock);
	(void)pthread_join(b->thread, NULL);
	b->started = false;
}

void thin_burier_free(struct thin_burier *b) THIN_NO_THREAD_SAFETY
{
	if (!b)
		return;
	free(b->queue.at);
	thin_cond_fini(&b->changed);
	thin_mutex_fini(&b->lock);
	free(b);
}
